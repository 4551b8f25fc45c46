import type * as contract from '@muster/shared/contract/batches';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { notFound } from '@muster/shared/errors';
import { isTerminal } from '@muster/shared/lifecycle';
import type { Ctx } from '../platform/ctx.ts';
import { JsonText } from '../platform/endpoint.ts';
import { decodeCursor, notOurCursor, pageOf } from '../platform/page.ts';
import { errorText } from './read.ts';
import * as store from './store/batches.ts';

export async function findBatch(ctx: Ctx, batchId: string): Promise<store.BatchRow> {
  const row = await store.findBatch(ctx.db.admin, batchId);
  if (!row) throw notFound('batch', batchId);
  return row;
}

/** How far a batch is: how many of its tasks have come to which status. */
export async function getBatch(ctx: Ctx, batchId: string) {
  const { others, size, created_at, ...batch } = await findBatch(ctx, batchId);
  const counts = await store.countByStatus(ctx.db.admin, batchId);
  return {
    ...batch,
    created: size - others.length,
    refused: others.filter(({ problem }) => problem).length,
    by_status: Object.fromEntries(counts.map(({ status, n }) => [status, n])),
    done: counts.every(({ status }) => isTerminal(status)),
    created_at: created_at.toISOString(),
  };
}

/** What became of the tasks of a batch. Results go out as they are stored, unparsed, and only so many of them at once. */
export async function listBatchResults(
  ctx: Ctx,
  { params: { batch_id }, query: { cursor, limit } }: InputOf<typeof contract.listBatchResults>,
): Promise<JsonText> {
  const [after = '-1'] = decodeCursor(cursor, 1) ?? [];
  if (cursor !== undefined && !/^\d{1,3}$/.test(after)) throw notOurCursor();
  await findBatch(ctx, batch_id);
  const rows = await store.listBatchResults(ctx.db.admin, batch_id, Number(after), limit + 1);
  const fitting = rows.filter(({ fits }) => fits).length;
  const { data, next_cursor } = pageOf(rows, Math.min(limit, fitting), resultText, ({ index }) => [String(index)]);
  return new JsonText(`{"data":[${data.join(',')}],"next_cursor":${JSON.stringify(next_cursor)}}`);
}

const resultText = ({
  result_data,
  error,
  closed_reason,
  closed_code,
  fits: _,
  ...row
}: store.BatchResultRow): string =>
  `${JSON.stringify(row).slice(0, -1)},"result_data":${result_data ?? 'null'},"error":${errorText(error, closed_reason, closed_code)}}`;
