import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import { actorOf } from '../audit/record.ts';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { resumed } from './move.ts';
import { countTagged, listTagged, moveTogether } from './store/bulk.ts';

/** Pauses the active schedules that have a tag, the oldest first; or only says how many there are. */
export async function pauseSchedules(ctx: Ctx, { query, body }: InputOf<typeof contract.pauseSchedules>) {
  const filter = { owner: shownOwner(ctx), tag: body.tag, status: 'ACTIVE' as const };
  const matched = await countTagged(ctx.db.admin, filter);
  if (query.dry_run) return { matched, moved: 0 };
  const rows = await listTagged(ctx.db.admin, filter, body.limit);
  const moves = rows.map((row) => ({ seen: row, next: null, gap: null }));
  return {
    matched,
    moved: await moveTogether(ctx.db.admin, { event: 'pause', moves, note: body.note ?? null, by: actorOf(ctx) }),
  };
}

/** Resumes the paused ones, as each would be by itself. */
export async function resumeSchedules(ctx: Ctx, { query, body }: InputOf<typeof contract.resumeSchedules>) {
  const filter = { owner: shownOwner(ctx), tag: body.tag, status: 'PAUSED' as const };
  const matched = await countTagged(ctx.db.admin, filter);
  if (query.dry_run) return { matched, moved: 0 };
  const rows = await listTagged(ctx.db.admin, filter, body.limit);
  const moves = rows.map((row) => ({ seen: row, ...resumed(row, ctx.clock.now()) }));
  return { matched, moved: await moveTogether(ctx.db.admin, { event: 'resume', moves, note: null, by: actorOf(ctx) }) };
}
