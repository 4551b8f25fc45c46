import { z } from 'zod';
import { instant, text } from './fields.ts';
import { taskSettings } from './tasks.ts';

/** Which of these a pattern or a zone may be is said by what computes with them, with a problem code of its own. */
export const cron_expression = text(4_096).describe(
  '5 or 6 fields, the first of six being seconds; L W # + ? and @daily and the like are understood',
);
const timezone = text(1_024).default('UTC').describe('An IANA name, such as Europe/Berlin');

export const dst = z.union([
  z.literal('vixie'),
  z.strictObject({ gap: z.enum(['run_after', 'skip']), repeat: z.enum(['first', 'both']) }),
]);
export type Dst = z.output<typeof dst>;

const WEEKDAYS = ['MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT', 'SUN'] as const;
export const exclusion = z.union([
  z.strictObject({ date: z.iso.date() }),
  z
    .strictObject({ from: z.iso.date(), to: z.iso.date() })
    .refine(({ from, to }) => from <= to, { error: 'must not begin after it ends' }),
  z.strictObject({ weekdays: z.array(z.enum(WEEKDAYS)).min(1).max(7) }),
  z.strictObject({
    annual: z.string().regex(/^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, { error: 'must be a month and a day: 12-25' }),
  }),
]);
/** Local dates on which a schedule is not due. */
export type Exclusion = z.output<typeof exclusion>;

export const OVERLAPS = ['SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'CANCEL_OTHER', 'ALLOW_ALL'] as const;
export type Overlap = (typeof OVERLAPS)[number];

const misfirePolicy = z.enum(['SKIP', 'FIRE_ONCE', 'FIRE_ALL']);
export const misfire = z.strictObject({ policy: misfirePolicy, max: z.int().min(1).max(1_000).optional() });
export type Misfire = z.output<typeof misfire>;

/** What a schedule makes. The settings of a task stand beside it. */
export const target = z.strictObject({ kind: z.literal('task') });
export type Target = z.output<typeof target>;

/** When a schedule is due. Exactly one of the first three. */
export const when = {
  cron_expression: cron_expression.optional(),
  interval_seconds: z.int().min(1).max(315_360_000).optional().describe('Counted from 1970, plus phase_seconds'),
  at: instant.optional().describe('Once'),
  phase_seconds: z.int().min(0).max(315_360_000).default(0),
  timezone,
  dst: dst
    .default('vixie')
    .describe('What becomes of local times that do not come, or come twice, when clocks are set'),
  exclude: z.array(exclusion).max(366).default([]).describe('Local dates on which it is not due'),
  starts_at: instant.optional(),
  ends_at: instant.optional(),
};

/** What a schedule does when things do not go by the clock. */
export const whatIf = {
  max_runs: z.int().min(1).max(2_000_000_000).optional().describe('It ends after so many, those by hand among them'),
  jitter_seconds: z
    .int()
    .min(0)
    .max(86_400)
    .default(0)
    .describe('Fires up to so much later; the same for a due time whoever fires it'),
  overlap: z.enum(OVERLAPS).default('SKIP').describe('When it is due and what it made before has not ended'),
  catch_up_seconds: z.int().min(0).max(31_536_000).default(60).describe('What is older is not made up for'),
  misfire: z
    .union([misfirePolicy.transform((policy) => ({ policy })), misfire])
    .default({ policy: 'FIRE_ALL' })
    .describe(
      'What becomes of due times that passed by more than 5 s, and no more than catch_up_seconds: how many are made up for, the newest',
    ),
  pause_on_failure: z.int().min(1).max(1_000).optional().describe('It pauses after so many failures in a row'),
  late_after_seconds: z.int().min(1).max(86_400).optional().describe('Tells of it when it fires later than that'),
};

/** A rule of when says it in one of three ways. */
const RULES = ['cron_expression', 'interval_seconds', 'at'] as const;
export const ofOneRule = <T extends z.ZodType<{ [K in (typeof RULES)[number]]?: unknown }>>(type: T): T =>
  type
    .refine((it) => RULES.filter((name) => it[name] !== undefined).length === 1, {
      path: ['cron_expression'],
      error: `exactly one of ${RULES.join(', ')} must be given`,
    })
    .meta({ oneOf: RULES.map((name) => ({ required: [name] })) });

export const scheduleName = text(128).min(1);
/** What a schedule is told to be, at its creation and at every update. */
const rule = z.strictObject({
  ...taskSettings,
  ...when,
  ...whatIf,
  target: target.default({ kind: 'task' }),
  name: scheduleName.optional().describe('Unique among the schedules of an owner'),
  description: text(1_000).optional(),
});
export const scheduleBody = ofOneRule(rule);
export const namedScheduleBody = ofOneRule(rule.extend({ name: scheduleName }));
/** What is asked about: its rule of when, and as much of the rest as there is. */
export const partialScheduleBody = ofOneRule(rule.partial({ task_type: true, input_data: true }));
