import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/tasks';
import { notFound } from '@muster/shared/errors';
import { runIdOf } from '@muster/shared/ids';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { JsonText } from '../platform/endpoint.ts';
import { decodeCursor, pageOf } from '../platform/page.ts';
import { pairIn } from '../platform/pair.ts';
import * as store from './store/read.ts';

const iso = (at: Date | null): string | null => at?.toISOString() ?? null;

/** A task without its data, as the wire has it. */
export const showTask = ({ closed_reason: _r, closed_code: _c, final_fence: _f, ...row }: store.TaskRow) => ({
  ...row,
  verification: row.verification ?? 'none',
  depends_on: row.depends_on ?? [],
  run_at: row.run_at.toISOString(),
  expires_at: iso(row.expires_at),
  created_at: row.created_at.toISOString(),
  started_at: iso(row.started_at),
  finished_at: iso(row.finished_at),
});

const showRun = ({ fence, ...run }: store.RunRow) => ({ run_id: runIdOf(fence), fence: Number(fence), ...run });

export async function findTask(ctx: Ctx, taskId: string): Promise<store.TaskRow> {
  const row = await store.findTask(ctx.db.admin, taskId);
  if (!row) throw notFound('task', taskId);
  return row;
}

/** The error of a task as JSON text: its last run's or, where none ended it, why it was closed. */
export const errorText = (error: string | null | undefined, reason: string | null, code: string | null): string =>
  error ?? (reason === null ? 'null' : JSON.stringify({ message: reason, ...(code && { code }) }));

/** A task with its data and runs. What agents and submitters sent goes out as it is stored, unparsed. */
export async function getTask(ctx: Ctx, taskId: string): Promise<JsonText> {
  const row = await findTask(ctx, taskId);
  // One after the other: what reads has as many connections as it has places.
  const data = await store.findTaskData(ctx.db.admin, taskId, row.final_fence);
  const runs = await store.listTaskRuns(ctx.db.admin, taskId);
  const head = JSON.stringify({ ...showTask(row), runs: runs.map(showRun) });
  const tail = `"input_data":${data?.input_data ?? 'null'},"result_data":${data?.result_data ?? 'null'},"error":${errorText(data?.error, row.closed_reason, row.closed_code)}`;
  return new JsonText(`${head.slice(0, -1)},${tail}}`);
}

export async function listTasks(
  ctx: Ctx,
  { query: { cursor, limit, metadata, ...filter } }: InputOf<typeof contract.listTasks>,
) {
  const after = decodeCursor(cursor, 1)?.[0];
  const rows = await store.listTasks(ctx.db.admin, {
    ...filter,
    metadata: pairIn('#/query/metadata', metadata),
    owner: shownOwner(ctx),
    after,
    limit: limit + 1,
  });
  return pageOf(rows, limit, showTask, (row) => [row.task_id]);
}
