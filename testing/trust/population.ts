import { DEFAULTS, type Parameters } from '@muster/server/trust/parameters';
import { z } from 'zod';

const share = z.number().min(0).max(1);
const group = <P extends string, S extends z.ZodRawShape>(persona: P, shape: S) =>
  z.strictObject({ persona: z.literal(persona), share, ...shape });

/** Agents that are not honest. `share` is their part of all agents; what a persona does is in personas.ts. */
const badGroup = z.discriminatedUnion('persona', [
  group('flaky', { wrong: share.default(0.05) }),
  group('saboteur', { wrong: share.default(1) }),
  group('sleeper', { good: z.int().min(0).default(300) }),
  group('oscillator', { good: z.int().min(1).default(200), bad: z.int().min(1).default(50) }),
  group('ring', { cheats: z.enum(['together', 'always']).default('together') }),
]);

/** What by default is at most 1 is a share or a probability. */
const settings = {
  ...(Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, value]) => [
      name,
      z
        .number()
        .min(0)
        .max(value <= 1 ? 1 : 1e15),
    ]),
  ) as { [Name in keyof Parameters]: z.ZodNumber }),
  half_life_ms: z.number().positive(),
  quorum: z.int().min(2).max(50),
  most_votes: z.int().min(2).max(50),
  vote_most: z.number().min(0.5).max(0.9999),
};

/** A population file: who the agents are, and what the model is set to where that differs from the defaults. */
export const populationSchema = z
  .strictObject({
    name: z.string().min(1).max(80).default('your population'),
    agents: z.int().min(10).max(10_000).default(200),
    tasks: z.int().min(100).max(10_000_000).default(100_000),
    /** Honest agents an admin vouches for. */
    anchors: z.int().min(0).default(0),
    honest_wrong: share.default(0.0022),
    tasks_per_hour: z.number().positive().default(1_000),
    bad: z.array(badGroup).default([]),
    settings: z.strictObject(settings).partial().default({}),
  })
  .superRefine(({ agents, anchors, bad }, ctx) => {
    const shares = bad.reduce((sum, it) => sum + it.share, 0);
    if (shares > 0.9)
      ctx.addIssue({ code: 'custom', path: ['bad'], message: `the shares come to ${shares}, at most 0.9` });
    if (anchors > agents * (1 - shares))
      ctx.addIssue({ code: 'custom', path: ['anchors'], message: 'more than there are honest agents' });
  });

export type Population = z.infer<typeof populationSchema>;
export type BadGroup = Population['bad'][number];

const of = (name: string, ...bad: z.input<typeof badGroup>[]): Population => populationSchema.parse({ name, bad });

/** The populations of the table in docs/trust.md. */
export const POPULATIONS: readonly Population[] = [
  of('all honest'),
  of('10 % flaky, 5 % wrong', { persona: 'flaky', share: 0.1 }),
  of('20 % saboteurs, all wrong', { persona: 'saboteur', share: 0.2 }),
  of('35 % saboteurs, all wrong', { persona: 'saboteur', share: 0.35 }),
  of('20 % saboteurs, 10 % wrong', { persona: 'saboteur', share: 0.2, wrong: 0.1 }),
  of('20 % saboteurs, 1 % wrong', { persona: 'saboteur', share: 0.2, wrong: 0.01 }),
  of('10 % sleepers, 300 good', { persona: 'sleeper', share: 0.1 }),
  of('20 % oscillators, 200 good, 50 bad', { persona: 'oscillator', share: 0.2 }),
  of('20 % ring, cheats when two hold a task', { persona: 'ring', share: 0.2 }),
  of('20 % ring, always the same wrong', { persona: 'ring', share: 0.2, cheats: 'always' }),
  of(
    'mixed, 30 % bad',
    { persona: 'flaky', share: 0.1 },
    { persona: 'saboteur', share: 0.05 },
    { persona: 'saboteur', share: 0.05, wrong: 0.1 },
    { persona: 'oscillator', share: 0.05 },
    { persona: 'ring', share: 0.05 },
  ),
];

/** What is wrong with a population file, a line each: where, what, and the value that is there. */
export function problemsOf(value: unknown): string[] {
  const { error } = populationSchema.safeParse(value);
  return (error?.issues ?? []).map(({ path, message }) => {
    const found = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
    const is = found === undefined || typeof found === 'object' ? '' : ` (is ${JSON.stringify(found)})`;
    return `${path.join('.') || 'the whole'}: ${message}${is}`;
  });
}
