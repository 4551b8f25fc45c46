import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedules';
import type { Schedule } from '@muster/shared/contract/schedules';
import { notFound } from '@muster/shared/errors';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, pageOf } from '../platform/page.ts';
import * as executions from './store/executions.ts';
import * as store from './store/schedules.ts';

const iso = (at: Date | null) => at?.toISOString() ?? null;

/** A schedule on the wire. */
export const showSchedule = ({
  jitter_ms: _,
  paused_from: __,
  last_completed_task_id: ___,
  ...row
}: store.ScheduleRow): Schedule => ({
  ...row,
  status: row.status as Schedule['status'],
  input_data: row.input_data as Schedule['input_data'],
  metadata: row.metadata as Schedule['metadata'],
  at: iso(row.at),
  starts_at: iso(row.starts_at),
  ends_at: iso(row.ends_at),
  next_run_at: iso(row.next_run_at),
  fire_at: iso(row.fire_at),
  last_run_at: iso(row.last_run_at),
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
});

export async function findSchedule(ctx: Ctx, scheduleId: string): Promise<store.ScheduleRow> {
  const row = await store.findSchedule(ctx.db.orm, scheduleId);
  if (!row) throw notFound('schedule', scheduleId);
  return row;
}

export const getSchedule = async (ctx: Ctx, scheduleId: string) => showSchedule(await findSchedule(ctx, scheduleId));

export async function listSchedules(
  ctx: Ctx,
  { query: { cursor, limit, ...filter } }: InputOf<typeof contract.listSchedules>,
) {
  const rows = await store.listSchedules(ctx.db.orm, {
    ...filter,
    owner: shownOwner(ctx),
    after: decodeCursor(cursor, 1)?.[0],
    limit: limit + 1,
  });
  return pageOf(rows, limit, showSchedule, (row) => [row.schedule_id]);
}

export async function listExecutions(
  ctx: Ctx,
  { params: { schedule_id }, query: { cursor, limit, ...filter } }: InputOf<typeof contract.listExecutions>,
) {
  await findSchedule(ctx, schedule_id);
  const rows = await executions.listExecutions(ctx.db.admin, {
    ...filter,
    scheduleId: schedule_id,
    after: decodeCursor(cursor, 1)?.[0],
    limit: limit + 1,
  });
  return pageOf(rows, limit, showExecution, (row) => [row.execution_id]);
}

/** An execution on the wire. */
export const showExecution = (row: executions.ExecutionRow) => ({
  ...row,
  scheduled_at: row.scheduled_at.toISOString(),
  until: iso(row.until),
  fired_at: iso(row.fired_at),
});
