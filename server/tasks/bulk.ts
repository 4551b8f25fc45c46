import type * as contract from '@muster/shared/contract/bulk';
import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { statesAllowing, TASK } from '@muster/shared/lifecycle';
import { actorOf, recordBulkAudit } from '../audit/record.ts';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import type { Fragment } from '../platform/database.ts';
import { withDeadline } from '../platform/deadline.ts';
import { pairIn } from '../platform/pair.ts';
import { type BulkFilter, chooseTasks, type Doing } from './store/bulk.ts';
import { moveRanks } from './store/priority.ts';
import * as reopen from './store/reopen.ts';
import { cancelTasks as cancelRows, stoppedRuns } from './store/transitions.ts';

type Change = ResponseOf<typeof contract.cancelTasks>;
type Asked<E extends keyof typeof contract> = Omit<
  InputOf<(typeof contract)[E] & typeof contract.cancelTasks>,
  'params'
>;

/** How many tasks one statement changes, how many ids an answer names. */
const BATCH = 1_000;
const NAMED = 100;
/** How often it is looked again for tasks that moved from one place to another in the very moment they were to be changed. */
const LOOKS = 10;

/** Cancels what has not ended; what runs is stopped by its agent. */
export function cancelTasks(ctx: Ctx, { query, body: { reason, ...body } }: Asked<'cancelTasks'>): Promise<Change> {
  return changeAll(ctx, { verb: 'cancel' }, { ...query, ...body }, async (ids, filter) => {
    const audit = auditOf(ctx, 'task.bulk_cancel', { ...filter, reason });
    const rows = await cancelRows(ctx.db.admin, ids, reason ?? null, audit);
    for (const run of stoppedRuns(rows)) ctx.notifier.tell('cancelled', run);
    return rows.map(({ task_id }) => task_id);
  });
}

/** Queues ended tasks again, all that one by one could be. */
export function retryTasks(
  ctx: Ctx,
  { query, body }: Omit<InputOf<typeof contract.retryTasks>, 'params'>,
): Promise<Change> {
  return changeAll(ctx, { verb: 'retry' }, { ...query, ...body }, async (ids, filter) => {
    const { admin: sql } = ctx.db;
    const choice = { chosen: reopen.chosenOf(sql, ids), ended: statesAllowing(TASK, 'retry') };
    const rows = await reopen.retryTasks(sql, choice, auditOf(ctx, 'task.bulk_retry', filter));
    ctx.notifier.tell('ready', [...new Set(rows.map(({ class_id }) => class_id))]);
    return rows.map(({ task_id }) => task_id);
  });
}

/** Gives what waits another priority. */
export function prioritiseTasks(
  ctx: Ctx,
  { query, body: { priority, ...body } }: Omit<InputOf<typeof contract.prioritiseTasks>, 'params'>,
): Promise<Change> {
  return changeAll(ctx, { verb: 'prioritise', priority }, { ...query, ...body }, (ids, filter) =>
    moveRanks(ctx.db.admin, ids, priority, auditOf(ctx, 'task.bulk_prioritise', { ...filter, priority })),
  );
}

const auditOf = (ctx: Ctx, action: string, filter: object): Fragment | undefined =>
  recordBulkAudit(ctx.db.admin, actorOf(ctx), action, filter);

type Wanted = Omit<BulkFilter, 'owner' | 'metadata'> & {
  metadata?: string | undefined;
  limit: number;
  dry_run: boolean;
};

/** Changes the tasks of a filter, so many a statement, until none is left, the limit is reached or the caller has hung up. */
async function changeAll(
  ctx: Ctx,
  doing: Doing,
  { limit, dry_run, ...said }: Wanted,
  change: (taskIds: string[], filter: object) => Promise<string[]>,
): Promise<Change> {
  const filter = { ...said, owner: shownOwner(ctx), metadata: pairIn('#/metadata', said.metadata) };
  const choose = (most: number) => withDeadline(chooseTasks(ctx.db.admin, doing, filter, most));
  const { matched, taskIds } = await choose(limit);
  if (dry_run) return { matched, changed: 0, remaining: matched, task_ids: taskIds.slice(0, NAMED) };
  const changed: string[] = [];
  let left = { matched, taskIds };
  for (let looks = 0; left.taskIds.length > 0 && looks < LOOKS && !ctx.signal.aborted; looks += 1) {
    const before = changed.length;
    for (let at = 0; at < left.taskIds.length && !ctx.signal.aborted; at += BATCH)
      changed.push(...(await withDeadline(change(left.taskIds.slice(at, at + BATCH), said))));
    left = await choose(limit - changed.length);
    if (changed.length === before) break;
  }
  return { matched, changed: changed.length, remaining: left.matched, task_ids: changed.sort().slice(0, NAMED) };
}
