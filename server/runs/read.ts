import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/runs';
import { notFound } from '@muster/shared/errors';
import { fenceOf, runIdOf } from '@muster/shared/ids';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { withDeadline } from '../platform/deadline.ts';
import { JsonText } from '../platform/endpoint.ts';
import { JsonLines } from '../platform/json-lines.ts';
import { decodeCursor, notOurCursor, pageOf } from '../platform/page.ts';
import * as store from './store/read.ts';

/** What a part of an export holds at most: runs, and bytes of their data. */
const PART = { runs: 250, bytes: 1_048_576 };

const iso = (at: Date | null): string | null => at?.toISOString() ?? null;

const showRun = <R extends store.RunSummaryRow>({ fence, ...run }: R) => ({
  run_id: runIdOf(fence),
  fence: Number(fence),
  ...run,
  cancel_requested_at: iso(run.cancel_requested_at),
  assigned_at: run.assigned_at.toISOString(),
  started_at: iso(run.started_at),
  finished_at: iso(run.finished_at),
});

/** A run as JSON text. What its agent sent goes out as it is stored, unparsed. */
export function recordOf({ result_data, ...row }: store.RunRecordRow): string {
  return `${JSON.stringify(showRun(row)).slice(0, -1)},"result_data":${result_data ?? 'null'}}`;
}

export async function findRun(ctx: Ctx, runId: string): Promise<store.RunRecordRow> {
  const row = await store.findRun(ctx.db.admin, fenceOf(runId));
  if (!row) throw notFound('run', runId);
  return row;
}

export const getRun = async (ctx: Ctx, runId: string) => new JsonText(recordOf(await findRun(ctx, runId)));

export async function listRuns(ctx: Ctx, { query: { cursor, limit, ...filter } }: InputOf<typeof contract.listRuns>) {
  const after = decodeCursor(cursor, 1)?.[0];
  if (after !== undefined && !/^\d{1,18}$/.test(after)) throw notOurCursor();
  const rows = await store.listRuns(ctx.db.admin, { ...filter, owner: shownOwner(ctx), after, limit: limit + 1 });
  return pageOf(rows, limit, showRun, (row) => [row.fence]);
}

/** All runs that pass the filter. What fails in the first part is answered as a problem; later the answer breaks off. */
export async function exportRuns(ctx: Ctx, { query }: InputOf<typeof contract.exportRuns>): Promise<JsonLines> {
  const part = (after: string | undefined) => {
    const filter = { ...query, owner: shownOwner(ctx), after, limit: PART.runs };
    return withDeadline(store.listRecords(ctx.db.admin, filter, PART.bytes));
  };
  return new JsonLines(linesFrom(await part(undefined), part, ctx.log));
}

async function* linesFrom(
  first: store.RunRecordRow[],
  part: (after: string) => Promise<store.RunRecordRow[]>,
  log: Ctx['log'],
) {
  try {
    for (let rows = first; rows.length > 0; rows = await part(rows.at(-1)!.fence))
      yield rows.map((row) => `${recordOf(row)}\n`).join('');
  } catch (error) {
    log.error({ err: error }, 'an export broke off');
    throw error;
  }
}
