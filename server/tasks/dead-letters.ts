import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/queue';
import { idPattern } from '@muster/shared/ids';
import { actorOf } from '../audit/record.ts';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, notOurCursor, pageOf } from '../platform/page.ts';
import { showTask } from './read.ts';
import * as store from './store/dead-letters.ts';

const isPosition = ([at = '', taskId = '']: readonly string[]) =>
  /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(at) &&
  !Number.isNaN(Date.parse(at)) &&
  idPattern('task').test(taskId);

const showDeadLetter = ({ error, ...row }: store.DeadLetterRow) => ({ ...showTask(row), error });

export async function listDeadLetters(
  ctx: Ctx,
  { query: { cursor, limit, ...filter } }: InputOf<typeof contract.listDeadLetters>,
) {
  const before = decodeCursor(cursor, 2);
  if (before && !isPosition(before)) throw notOurCursor();
  const rows = await store.listDeadLetters(ctx.db.admin, {
    ...filter,
    owner: shownOwner(ctx),
    before,
    limit: limit + 1,
  });
  return pageOf(rows, limit, showDeadLetter, (row) => [row.finished_at!.toISOString(), row.task_id]);
}

/** Queues dead letters again, or only says how many there are. */
export async function retryDeadLetters(
  ctx: Ctx,
  { body: { limit, dry_run, ...wanted } }: InputOf<typeof contract.retryDeadLetters>,
) {
  const filter = { ...wanted, owner: shownOwner(ctx) };
  const matched = await store.countDeadLetters(ctx.db.admin, filter);
  if (dry_run) return { matched, retried: 0 };
  const classIds = await store.retryDeadLetters(ctx.db.admin, filter, limit, actorOf(ctx));
  ctx.notifier.tell('ready', [...new Set(classIds)]);
  return { matched, retried: classIds.length };
}
