import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedules';
import { WHEN_PROBLEMS } from '@muster/shared/contract/schedules';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { actorOf } from '../audit/record.ts';
import { type Ctx, ownerOf } from '../platform/ctx.ts';
import { checkRepeatable } from '../tasks/repeatable.ts';
import { checkWhen } from './check-when.ts';
import { limitKey } from './limit.ts';
import { refuseTaken, taken } from './name.ts';
import { comingTimes } from './occurrences.ts';
import { getSchedule, showSchedule } from './read.ts';
import { dueAt, type Rule, ruleOf, whenOf } from './rule.ts';
import { insertSchedule, type ScheduleRow } from './store/schedules.ts';
import { checkTemplate } from './template.ts';
import { dueBetween } from './when.ts';

/** How many of the times to come a dry run tells. */
export const FORETOLD = 10;

export async function createSchedule(ctx: Ctx, { query, body }: InputOf<typeof contract.createSchedule>) {
  const rule = ruleOf(body);
  checkTemplate(rule.input_data);
  checkRepeatable(rule);
  const schedule_id = newId('sched');
  const owner = ownerOf(ctx);
  const now = ctx.clock.now();
  const first = checkWhen(rule, now, ctx.config.minScheduleSeconds);
  const next = dueAt({ ...rule, schedule_id }, first);
  await refuseTaken(ctx, owner, rule.name);
  if (query.dry_run) {
    const row = newborn({ ...rule, schedule_id, owner, ...next }, now);
    return { ...showSchedule(row), next_runs: comingTimes(row, now, FORETOLD) };
  }
  await limitKey(ctx, owner, rule);
  await insertSchedule(ctx.db.admin, { ...rule, schedule_id, owner, ...next }, actorOf(ctx)).catch(taken(rule.name));
  return getSchedule(ctx, schedule_id);
}

/** A schedule as it would be made. */
export const newborn = (
  made: Rule & Pick<ScheduleRow, 'schedule_id' | 'owner' | 'next_run_at' | 'jitter_ms'>,
  now: Date,
): ScheduleRow => ({
  ...made,
  status: 'ACTIVE',
  fire_at: new Date(made.next_run_at!.getTime() + made.jitter_ms),
  version: 0,
  pause_note: null,
  paused_from: null,
  last_run_at: null,
  total_runs: 0,
  failed_runs: 0,
  skipped: 0,
  missed: 0,
  consecutive_failures: 0,
  last_completed_task_id: null,
  created_at: now,
  updated_at: now,
});

const isWhenProblem = (code: string): code is (typeof WHEN_PROBLEMS)[number] =>
  (WHEN_PROBLEMS as readonly string[]).includes(code);

/** Says what a rule of when means, or what is wrong with it; asking is never an error. */
export function validateSchedule(ctx: Ctx, { body }: InputOf<typeof contract.validateSchedule>) {
  const when = whenOf(body);
  if (body.input_data !== undefined) checkTemplate(body.input_data);
  const { cron_expression, timezone } = when;
  const now = ctx.clock.now();
  try {
    const next = checkWhen(when, now, ctx.config.minScheduleSeconds);
    const next_runs = dueBetween(when, now, FAR, 5).map((at) => at.toISOString());
    return { valid: true as const, cron_expression, timezone, next_run_at: next.toISOString(), next_runs };
  } catch (error) {
    if (!(error instanceof ProblemError && isWhenProblem(error.code))) throw error;
    const { code, message } = error;
    return { valid: false as const, cron_expression, timezone, code, message };
  }
}
const FAR = new Date(8.64e15);
