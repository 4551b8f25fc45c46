import { z } from 'zod';

const rate = z.number().min(0).max(1);
const ms = z.number().min(0).max(86_400_000);

/** How an agent of the fleet behaves. Rates are probabilities per run, unless said; durations are milliseconds. */
export const persona = z.strictObject({
  share: z.number().min(0).max(1).default(1).describe('Which part of the fleet is like this'),
  slots: z.int().min(1).max(1_000).default(1),
  capabilities: z.array(z.string()).min(1).optional().describe("The fleet's unless said"),
  labels: z.record(z.string(), z.string()).default({}),
  speed_ms: z
    .union([ms, z.strictObject({ p50: ms, p99: ms })])
    .default(50)
    .describe('How long a run takes: always as long, or log-normal'),
  failure_rate: rate.default(0).describe('Reports FAILED'),
  wrong_rate: rate.default(0).describe('Reports COMPLETED with a wrong answer'),
  good_runs: z.int().min(0).default(0).describe('So many runs it does right before `wrong_rate` holds'),
  bad_runs: z
    .int()
    .min(1)
    .optional()
    .describe('For so many it holds, then the good ones begin again; for ever unless said'),
  ring: z
    .enum(['together', 'always'])
    .optional()
    .describe('All of this persona tell the same lie: of tasks that two of them have, or of all'),
  double_rate: rate.default(0).describe('Reports its result twice'),
  late_rate: rate.default(0).describe('Falls silent with the run, and reports after `late_ms`'),
  late_ms: ms.default(40_000),
  missed_beat_rate: rate.default(0).describe('Leaves out a beat; per beat'),
  vanish_rate: rate.default(0).describe('Is gone without a word, as a process that was killed'),
  return_ms: ms.optional().describe('Comes back with a new boot so long after it vanished; never unless said'),
  clock_skew_ms: z.number().min(-86_400_000).max(86_400_000).default(0),
  refuse_cancel: z.boolean().default(false).describe('Goes on with what it is told to stop'),
});
export type Persona = z.output<typeof persona>;
export type PersonaInput = z.input<typeof persona>;

/** Those one meets. A fleet may change any of it. */
export const PERSONAS = {
  honest: {},
  slow: { speed_ms: { p50: 2_000, p99: 20_000 } },
  flaky: { failure_rate: 0.1, missed_beat_rate: 0.1 },
  saboteur: { wrong_rate: 1 },
  sleeper: { wrong_rate: 1, good_runs: 300 },
  oscillator: { wrong_rate: 1, good_runs: 200, bad_runs: 50 },
  ring: { ring: 'together' },
  doubling: { double_rate: 1 },
  late: { late_rate: 0.05 },
  vanishing: { vanish_rate: 0.02, return_ms: 1_000 },
  skewed: { clock_skew_ms: 5_000 },
  stubborn: { refuse_cancel: true },
} satisfies Record<string, PersonaInput>;

/** Who is what in a fleet of so many: by shares, the rest going to those who lost most by rounding; at least one of each. */
export function castOf(agents: number, personas: Record<string, Persona>): string[] {
  const names = Object.keys(personas);
  const whole = names.reduce((sum, name) => sum + personas[name]!.share, 0);
  if (agents < names.length) throw new RangeError(`${agents} agents cannot be ${names.length} personas`);
  const exact = names.map((name) => ({
    name,
    due: whole === 0 ? 0 : (agents * personas[name]!.share) / whole,
    has: 1,
  }));
  for (let left = agents - names.length; left > 0; left--) {
    const neediest = exact.reduce((a, b) => (b.due - b.has > a.due - a.has ? b : a));
    neediest.has += 1;
  }
  return exact.flatMap(({ name, has }) => Array.from({ length: has }, () => name));
}
