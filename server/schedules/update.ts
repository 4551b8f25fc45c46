import { isDeepStrictEqual } from 'node:util';
import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import { ProblemError } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { refuseChanged } from '../platform/if-match.ts';
import { checkRepeatable } from '../tasks/repeatable.ts';
import { checkWhen } from './check-when.ts';
import { FORETOLD } from './create.ts';
import { limitKey } from './limit.ts';
import { refuseTaken, taken } from './name.ts';
import { comingTimes } from './occurrences.ts';
import { findSchedule, getSchedule, showSchedule } from './read.ts';
import { dueAt, RULE_COLUMNS, type Rule, ruleOf, WHEN_COLUMNS } from './rule.ts';
import { applyChanges, type Ruled } from './store/rules.ts';
import type { ScheduleRow } from './store/schedules.ts';
import { checkTemplate } from './template.ts';
import { nextDue, previousDue } from './when.ts';

/** Decides it by the row as it was read, and looks again when a tick or somebody else was faster. */
export const TRIES = 20;

/** Gives a schedule another rule. */
export async function updateSchedule(ctx: Ctx, { params, query, body }: InputOf<typeof contract.updateSchedule>) {
  const { schedule_id } = params;
  const rule = ruleOf(body);
  checkTemplate(rule.input_data);
  checkRepeatable(rule);
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const row = await findSchedule(ctx, schedule_id);
    refuseChanged(ctx.ifMatch, `schedule ${schedule_id}`, row.version);
    if (row.status === 'DELETED') throw new ProblemError('conflict', `schedule ${schedule_id} is DELETED`);
    const now = ctx.clock.now();
    const ruled = ruledBy(ctx, row, rule, now);
    await refuseTaken(ctx, row.owner, rule.name, schedule_id);
    if (query.dry_run) {
      const would = { ...row, ...ruled, fire_at: fireAt(ruled) };
      return { ...showSchedule(would), next_runs: comingTimes(would, now, FORETOLD) };
    }
    if (changesOf(row, rule).length === 0) return showSchedule(row);
    await limitKey(ctx, row.owner, rule);
    const all = { create: [], update: [ruled], remove: [], gaps: [], seen: [row] };
    if (await applyChanges(ctx.db.admin, all, 'schedule.update', actorOf(ctx)).catch(taken(rule.name)))
      return getSchedule(ctx, schedule_id);
  }
  throw new ProblemError('overloaded', `schedule ${schedule_id} changes too fast to be updated; try again`);
}

const fireAt = ({ next_run_at, jitter_ms }: Pick<ScheduleRow, 'next_run_at' | 'jitter_ms'>) =>
  next_run_at && new Date(next_run_at.getTime() + jitter_ms);

/** The fields in which a rule is another than the schedule's. */
export const changesOf = (row: ScheduleRow, rule: Rule): (keyof Rule)[] =>
  RULE_COLUMNS.filter((name) => !isDeepStrictEqual(row[name], rule[name]));

/**
 * A schedule by another rule. Where that says another time it holds from the first due time that is not settled yet: what the old one has fired
 * stays, and nothing the new one has is lost. One that had ended begins again if there is a time to come.
 */
export function ruledBy(ctx: Ctx, row: ScheduleRow, rule: Rule, now: Date): Ruled {
  const { schedule_id, next_run_at, jitter_ms, paused_from } = row;
  const status = row.status as Ruled['status'];
  const same = { ...rule, schedule_id, status, next_run_at, jitter_ms, paused_from };
  if (!changesOf(row, rule).some((name) => (WHEN_COLUMNS as readonly string[]).includes(name))) return same;
  checkWhen(rule, now, ctx.config.minScheduleSeconds);
  if (rule.max_runs !== null && rule.max_runs <= row.total_runs)
    throw new ProblemError('validation-failed', `#/max_runs must be more than the ${row.total_runs} there were`, {
      errors: [{ pointer: '#/max_runs', detail: `must be more than the ${row.total_runs} there were` }],
    });
  if (status === 'PAUSED') return { ...same, paused_from: nextDue(rule, settled(row, paused_from, now)) };
  const next = nextDue(rule, settled(row, next_run_at, now))!;
  return { ...same, status: 'ACTIVE', ...dueAt({ ...rule, schedule_id }, next) };
}

/** The last instant whose due times, by the rule there was, all have their executions: just before the first that has none, or now. */
function settled(row: ScheduleRow, first: Date | null, now: Date): Date {
  if (!first) return now;
  const last = previousDue(row, first)?.getTime() ?? 0;
  return new Date(Math.max(last, Math.min(now.getTime(), first.getTime() - 1)));
}
