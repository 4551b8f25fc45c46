import { z } from 'zod';
import { SCHEDULE, states, TASK } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import { id, instant, json, nullableTimestamp, page, pageQuery, taskType, text, timestamp } from './fields.ts';
import { taskSettings } from './tasks.ts';

/** Which of these a pattern or a zone may be is said by what computes with them, with a problem code of its own. */
const cron_expression = text(4_096).describe(
  '5 or 6 fields, the first of six being seconds; L W # + ? and @daily and the like are understood',
);
const timezone = text(1_024).default('UTC').describe('An IANA name, such as Europe/Berlin');

const dst = z.union([
  z.literal('vixie'),
  z.strictObject({ gap: z.enum(['run_after', 'skip']), repeat: z.enum(['first', 'both']) }),
]);
export type Dst = z.output<typeof dst>;

const WEEKDAYS = ['MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT', 'SUN'] as const;
const exclusion = z.union([
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

const OVERLAPS = ['SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'CANCEL_OTHER', 'ALLOW_ALL'] as const;
export type Overlap = (typeof OVERLAPS)[number];

const misfirePolicy = z.enum(['SKIP', 'FIRE_ONCE', 'FIRE_ALL']);
const misfire = z.strictObject({ policy: misfirePolicy, max: z.int().min(1).max(1_000).optional() });
export type Misfire = z.output<typeof misfire>;

/** What a schedule makes. The settings of a task stand beside it. */
const target = z.strictObject({ kind: z.literal('task') });
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

/** What a schedule is told to be, at its creation and at every update. */
export const scheduleBody = z
  .strictObject({
    ...taskSettings,
    ...when,
    ...whatIf,
    target: target.default({ kind: 'task' }),
    name: text(128).min(1).optional().describe('Unique among the schedules of an owner'),
    description: text(1_000).optional(),
  })
  .refine((it) => [it.cron_expression, it.interval_seconds, it.at].filter((one) => one !== undefined).length === 1, {
    path: ['cron_expression'],
    error: 'exactly one of cron_expression, interval_seconds and at must be given',
  });

const schedule = z.object({
  schedule_id: id('sched'),
  name: z.string().nullable(),
  status: z.enum(states(SCHEDULE)),
  cron_expression: z.string().nullable(),
  interval_seconds: z.int().nullable(),
  at: nullableTimestamp,
  phase_seconds: z.int(),
  timezone: z.string(),
  dst,
  exclude: z.array(exclusion),
  starts_at: nullableTimestamp,
  ends_at: nullableTimestamp,
  max_runs: z.int().nullable(),
  jitter_seconds: z.int(),
  overlap: z.enum(OVERLAPS),
  catch_up_seconds: z.int(),
  misfire,
  pause_on_failure: z.int().nullable(),
  late_after_seconds: z.int().nullable(),
  next_run_at: nullableTimestamp.describe('The due time that is next'),
  fire_at: nullableTimestamp.describe('The same with its jitter'),
  last_run_at: nullableTimestamp,
  target,
  task_type: z.string(),
  capability_required: z.string(),
  input_data: json,
  priority: z.int(),
  timeout_seconds: z.int(),
  max_retries: z.int(),
  retry_policy: z.string(),
  retry_base_ms: z.int(),
  retry_cap_ms: z.int(),
  retry_jitter: z.boolean(),
  non_retryable: z.array(z.string()),
  task_timeout_seconds: z.int().nullable(),
  labels_required: z.record(z.string(), z.string()),
  labels_preferred: z.record(z.string(), z.string()),
  concurrency_key: z.string().nullable(),
  concurrency_limit: z.int(),
  owner: z.string(),
  client_id: z.string().nullable(),
  tags: z.array(z.string()),
  metadata: json,
  description: z.string().nullable(),
  pause_note: z.string().nullable(),
  total_runs: z.int(),
  failed_runs: z.int(),
  skipped: z.int(),
  missed: z.int(),
  consecutive_failures: z.int(),
  created_at: timestamp,
  updated_at: timestamp,
});
export type Schedule = z.output<typeof schedule>;
const scheduleParams = z.object({ schedule_id: id('sched') });

export const createSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule',
  tag: 'Schedules',
  summary: 'Submit a task again and again',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'new',
  audit: 'schedule.create',
  status: 201,
  body: scheduleBody,
  response: schedule,
  problems: ['invalid-cron', 'invalid-timezone', 'schedule-never-fires', 'schedule-too-frequent', 'conflict'],
});
export const validateSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/validate',
  tag: 'Schedules',
  summary: 'Check a cron expression and see when it would fire',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'none',
  body: z.strictObject({ cron_expression, timezone }),
  response: z.union([
    z.object({
      valid: z.literal(true),
      cron_expression: z.string(),
      timezone: z.string(),
      next_run_at: timestamp,
      next_runs: z.array(timestamp),
    }),
    z.object({ valid: z.literal(false), cron_expression: z.string(), timezone: z.string(), message: z.string() }),
  ]),
});
export const listSchedules = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule',
  tag: 'Schedules',
  summary: 'List schedules, newest first',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'list',
  query: z.strictObject({
    status: z.enum(states(SCHEDULE)).optional(),
    client_id: text(128).optional(),
    task_type: taskType.optional(),
    tag: text(64).optional(),
    ...pageQuery,
  }),
  response: page(schedule),
});
export const getSchedule = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/{schedule_id}',
  tag: 'Schedules',
  summary: 'Look at a schedule',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'path',
  params: scheduleParams,
  response: schedule,
  problems: ['not-found'],
});
export const deleteSchedule = endpoint({
  method: 'DELETE',
  path: '/aitp/tasks/schedule/{schedule_id}',
  tag: 'Schedules',
  summary: 'End a schedule; what it did is kept',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.delete',
  params: scheduleParams,
  response: schedule,
  problems: ['not-found'],
});
export const pauseSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/{schedule_id}/pause',
  tag: 'Schedules',
  summary: 'Stop firing for now',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.pause',
  params: scheduleParams,
  body: z.strictObject({ note: text(1_000).optional() }).default({}),
  bodyOptional: true,
  response: schedule,
  problems: ['not-found', 'conflict'],
});
export const resumeSchedule = endpoint({
  method: 'POST',
  path: '/aitp/tasks/schedule/{schedule_id}/resume',
  tag: 'Schedules',
  summary: 'Fire again, from the next due time on',
  principals: ['key'],
  scope: 'schedules:write',
  ownership: 'path',
  audit: 'schedule.resume',
  params: scheduleParams,
  response: schedule,
  problems: ['not-found', 'conflict'],
});
/** What happened at a due time; or at `count` of them in a row that did not fire, from `scheduled_at` until `until`. */
const EXECUTION = ['FIRED', 'SKIPPED', 'MISSED', 'TRIGGERED', 'BACKFILLED'] as const;
export type ExecutionStatus = (typeof EXECUTION)[number];
const execution = z.object({
  execution_id: id('exec'),
  schedule_id: id('sched'),
  status: z.enum(EXECUTION),
  reason: z.string().nullable().describe('Why it did not fire'),
  scheduled_at: timestamp,
  until: nullableTimestamp,
  count: z.int(),
  fired_at: nullableTimestamp,
  lateness_ms: z.int().nullable().describe('After its due time, jitter included'),
  execution_number: z.int().nullable(),
  task_id: id('task').nullable(),
  task_status: z.enum(states(TASK)).nullable(),
  result_data: json.nullable(),
  error: json.nullable(),
});
export const listExecutions = endpoint({
  method: 'GET',
  path: '/aitp/tasks/schedule/{schedule_id}/executions',
  tag: 'Schedules',
  summary: 'What happened at each due time, newest first',
  principals: ['key'],
  scope: 'schedules:read',
  ownership: 'path',
  params: scheduleParams,
  query: z.strictObject(pageQuery),
  response: page(execution),
  problems: ['not-found'],
});
