import { scheduleBody } from '@muster/shared/contract/schedule-rule';
import type { z } from 'zod';
import { jitterMs } from './jitter.ts';
import type { ScheduleRow } from './store/schedules.ts';

type RuleBody = z.output<typeof scheduleBody>;
/** What a schedule is told to be, as its columns have it. */
export type Rule = ReturnType<typeof ruleOf>;

const momentOf = (text: string | undefined) => (text === undefined ? null : new Date(text));

/** When it is due. */
export const whenOf = (
  body: Pick<
    RuleBody,
    | 'cron_expression'
    | 'interval_seconds'
    | 'at'
    | 'phase_seconds'
    | 'timezone'
    | 'dst'
    | 'exclude'
    | 'starts_at'
    | 'ends_at'
  >,
) => ({
  cron_expression: body.cron_expression ?? null,
  interval_seconds: body.interval_seconds ?? null,
  at: momentOf(body.at),
  phase_seconds: body.phase_seconds,
  timezone: body.timezone,
  dst: body.dst,
  exclude: body.exclude,
  starts_at: momentOf(body.starts_at),
  ends_at: momentOf(body.ends_at),
});

export const ruleOf = (body: RuleBody) => ({
  ...body,
  ...whenOf(body),
  capability_required: body.capability_required ?? body.task_type,
  client_id: body.client_id ?? null,
  name: body.name ?? null,
  description: body.description ?? null,
  max_runs: body.max_runs ?? null,
  pause_on_failure: body.pause_on_failure ?? null,
  late_after_seconds: body.late_after_seconds ?? null,
  task_timeout_seconds: body.task_timeout_seconds ?? null,
  concurrency_key: body.concurrency_key ?? null,
});

/** The columns of a rule. */
export const RULE_COLUMNS = Object.keys(scheduleBody.shape) as (keyof Rule)[];

/** Those that say when a schedule is due, and how often. */
export const WHEN_COLUMNS = [
  'cron_expression',
  'interval_seconds',
  'at',
  'phase_seconds',
  'timezone',
  'dst',
  'exclude',
  'starts_at',
  'ends_at',
  'jitter_seconds',
  'max_runs',
] as const satisfies (keyof Rule)[];

/** When a schedule is due next, and how much later than that it fires. */
export const dueAt = (
  { schedule_id, jitter_seconds }: Pick<ScheduleRow, 'schedule_id' | 'jitter_seconds'>,
  at: Date,
) => ({
  next_run_at: at,
  jitter_ms: jitterMs(schedule_id, at, jitter_seconds),
});
