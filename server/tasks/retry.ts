import { ProblemError } from '@muster/shared/errors';
import { statesAllowing, TASK } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { findTask, showTask } from './read.ts';
import { findUniques } from './store/keys.ts';
import * as store from './store/transitions.ts';

/** Queues an ended task again: attempts count from one, what it did before stays in its history. */
export async function retryTask(ctx: Ctx, taskId: string) {
  const retried = await store.retryTask(ctx.db.admin, taskId, actorOf(ctx));
  const task = await findTask(ctx, taskId);
  if (!retried) {
    const { owner, unique_key: key, status } = task;
    const allowed = statesAllowing(TASK, 'retry');
    // Of a unique key only one task is open at a time, and by now it is another.
    if (key !== null && allowed.includes(status) && (await findUniques(ctx.db.admin, owner, [key])).has(key))
      throw new ProblemError('conflict', `another open task has the unique key of task ${taskId}`);
    throw new ProblemError(
      'conflict',
      `task ${taskId} is ${status}; only ${allowed.join(', ')} can be retried, once nothing of it runs`,
    );
  }
  ctx.notifier.tell('ready', [retried.class_id]);
  return showTask(task);
}
