import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedules';
import { ProblemError } from '@muster/shared/errors';
import { SCHEDULE, type ScheduleStatus, statesAllowing } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { firstRun } from './cron.ts';
import { findSchedule, getSchedule } from './read.ts';
import { moveSchedule } from './store/schedules.ts';

export async function pauseSchedule(
  ctx: Ctx,
  { params: { schedule_id }, body }: InputOf<typeof contract.pauseSchedule>,
) {
  const moved = await moveSchedule(ctx.db.admin, {
    scheduleId: schedule_id,
    event: 'pause',
    note: body.note ?? null,
    by: actorOf(ctx),
  });
  return settled(ctx, schedule_id, 'pause', 'PAUSED', moved);
}

/** Fires again from the next due time on: what was due while it was paused stays undone. */
export async function resumeSchedule(ctx: Ctx, scheduleId: string) {
  const row = await findSchedule(ctx, scheduleId);
  const nextRunAt =
    row.status === 'PAUSED'
      ? firstRun(row.cron_expression ?? '', row.timezone, resumeFrom(row, ctx.clock.now()))
      : null;
  const moved = nextRunAt
    ? await moveSchedule(ctx.db.admin, {
        scheduleId,
        event: 'resume',
        nextRunAt,
        version: row.version,
        by: actorOf(ctx),
      })
    : undefined;
  return settled(ctx, scheduleId, 'resume', 'ACTIVE', moved);
}

/** Not before what has fired already, should the process's clock be behind. */
const resumeFrom = ({ last_run_at }: { last_run_at: Date | null }, now: Date): Date =>
  last_run_at && last_run_at > now ? last_run_at : now;

export async function deleteSchedule(ctx: Ctx, scheduleId: string) {
  const moved = await moveSchedule(ctx.db.admin, { scheduleId, event: 'delete', by: actorOf(ctx) });
  return settled(ctx, scheduleId, 'delete', 'DELETED', moved);
}

/** The schedule as it is now; a problem where it is not what was asked for. Asking for what already is is fine. */
async function settled(
  ctx: Ctx,
  scheduleId: string,
  event: 'pause' | 'resume' | 'delete',
  wanted: ScheduleStatus,
  moved: unknown,
) {
  const schedule = await getSchedule(ctx, scheduleId);
  if (!moved && schedule.status !== wanted) {
    throw new ProblemError(
      'conflict',
      `schedule ${scheduleId} is ${schedule.status}; ${event} needs ${statesAllowing(SCHEDULE, event).join(' or ')}`,
    );
  }
  return schedule;
}
