import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import type { Ctx } from '../platform/ctx.ts';
import { comingDue, pastDue, showOccurrence } from './occurrences.ts';
import { findSchedule } from './read.ts';

/** The due times around now by the rule, whatever the status: a paused schedule would have them. */
export async function previewSchedule(ctx: Ctx, { params, query }: InputOf<typeof contract.previewSchedule>) {
  const row = await findSchedule(ctx, params.schedule_id);
  const now = ctx.clock.now();
  return {
    schedule_id: row.schedule_id,
    timezone: row.timezone,
    next: comingDue(row, now, query.next).map((due) => showOccurrence(row, due)),
    past: pastDue(row, now, query.past).map((due) => showOccurrence(row, due)),
  };
}
