import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import { actorOf } from '../audit/record.ts';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { resumed } from './move.ts';
import { type Move, moveSchedules, type ScheduleRow } from './store/schedules.ts';
import { countTagged, listTagged, type Tagged } from './store/tagged.ts';

/** Pauses the active schedules that have a tag, the oldest first; or only says how many there are. */
export const pauseSchedules = (ctx: Ctx, { query, body }: InputOf<typeof contract.pauseSchedules>) =>
  moveTagged(ctx, { ...body, ...query, event: 'pause', status: 'ACTIVE', how: () => ({}) });

/** Resumes the paused ones, as each would be by itself. */
export const resumeSchedules = (ctx: Ctx, { query, body }: InputOf<typeof contract.resumeSchedules>) =>
  moveTagged(ctx, {
    ...body,
    ...query,
    event: 'resume',
    status: 'PAUSED',
    how: (row) => resumed(row, ctx.clock.now()),
  });

interface Together extends Pick<Tagged, 'tag' | 'status'> {
  event: 'pause' | 'resume';
  note?: string | undefined;
  limit: number;
  dry_run: boolean;
  how: (row: ScheduleRow) => Pick<Move, 'next' | 'gap'>;
}

/** One that somebody else has changed meanwhile stays as it is. A tick is no change: what is active moves on by itself. */
async function moveTagged(ctx: Ctx, { event, note, limit, dry_run, how, ...wanted }: Together) {
  const filter: Tagged = { owner: shownOwner(ctx), tag: wanted.tag, status: wanted.status };
  const matched = await countTagged(ctx.db.admin, filter);
  if (dry_run) return { matched, moved: 0 };
  const rows = await listTagged(ctx.db.admin, filter, limit);
  const moves = rows.map((row) => ({ scheduleId: row.schedule_id, seen: { version: row.version }, ...how(row) }));
  const moved = await moveSchedules(ctx.db.admin, { event, note: note ?? null, by: actorOf(ctx), moves });
  return { matched, moved: moved.length };
}
