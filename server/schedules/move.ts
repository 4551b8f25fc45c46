import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedules';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { SCHEDULE, type ScheduleStatus, statesAllowing } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { refuseChanged } from '../platform/if-match.ts';
import { gapFrom } from './gap.ts';
import { comingDue } from './occurrences.ts';
import { findSchedule, getSchedule, showSchedule } from './read.ts';
import { dueAt } from './rule.ts';
import { type Move, moveSchedule, type ScheduleRow, type SkippedGap } from './store/schedules.ts';

/** Moves it as it was read, and looks again when a tick or somebody else was faster. */
const TRIES = 20;

/** Stops firing. What is under way goes on. */
export const pauseSchedule = (ctx: Ctx, { params, body }: InputOf<typeof contract.pauseSchedule>) =>
  moveAsRead(ctx, params.schedule_id, 'pause', 'PAUSED', () => ({ note: body.note ?? null }));

/** Fires again from the next due time on: what was due while it was paused is told as one gap, and stays undone. */
export const resumeSchedule = (ctx: Ctx, scheduleId: string) =>
  moveAsRead(ctx, scheduleId, 'resume', 'ACTIVE', (row) => resumed(row, ctx.clock.now()));

/** When a paused schedule is due next, which it is not with no run left, and what passed meanwhile. */
export function resumed(row: ScheduleRow, now: Date): Required<Pick<Move, 'next' | 'gap'>> {
  const from = resumeFrom(row, now);
  const next = comingDue(row, from, 1)[0] ?? null;
  return { next: next && dueAt(row, next), gap: passedBy(row, from) };
}

/** Ends it. Due times that have passed and had no execution yet are told as one gap. */
export const deleteSchedule = (ctx: Ctx, scheduleId: string) =>
  moveAsRead(ctx, scheduleId, 'delete', 'DELETED', (row) => ({ gap: passedBy(row, ctx.clock.now()) }));

/** What has become due up to an instant without an execution. */
export function passedBy(row: ScheduleRow, to: Date): SkippedGap | null {
  const first = row.paused_from ?? row.next_run_at;
  const gap = first && gapFrom(row, first, to);
  return gap && { ...gap, execution_id: newId('exec'), reason: row.paused_from ? 'paused' : 'deleted' };
}

/** Not before what has fired already, should the process's clock be behind. */
const resumeFrom = ({ last_run_at, paused_from }: ScheduleRow, now: Date): Date =>
  new Date(Math.max(now.getTime(), last_run_at?.getTime() ?? 0, paused_from ? paused_from.getTime() - 1 : 0));

async function moveAsRead(
  ctx: Ctx,
  scheduleId: string,
  event: Move['event'],
  wanted: ScheduleStatus,
  how: (row: ScheduleRow) => Pick<Move, 'next' | 'gap' | 'note'>,
) {
  for (let tries = 1; ; tries += 1) {
    const row = await findSchedule(ctx, scheduleId);
    const status = row.status as ScheduleStatus;
    refuseChanged(ctx.ifMatch, `schedule ${scheduleId}`, row.version);
    // Asking for what already is is fine.
    if (status === wanted) return showSchedule(row);
    const allowed = statesAllowing(SCHEDULE, event);
    if (!allowed.includes(status))
      throw new ProblemError('conflict', `schedule ${scheduleId} is ${status}; ${event} needs ${allowed.join(' or ')}`);
    const move = { scheduleId, event, seen: row, ...how(row), by: actorOf(ctx) };
    if (await moveSchedule(ctx.db.admin, move)) return getSchedule(ctx, scheduleId);
    if (tries === TRIES)
      throw new ProblemError('overloaded', `schedule ${scheduleId} changes too fast for ${event}; try again`);
  }
}
