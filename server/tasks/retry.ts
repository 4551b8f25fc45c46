import { ProblemError } from '@muster/shared/errors';
import { statesAllowing, TASK } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { isUniqueViolation } from '../platform/storage-errors.ts';
import { findTask, showTask } from './read.ts';
import * as store from './store/transitions.ts';

/** Queues an ended task again: attempts count from one, what it did before stays in its history. */
export async function retryTask(ctx: Ctx, taskId: string) {
  const retried = await store.retryTask(ctx.db.admin, taskId, actorOf(ctx)).catch((error) => {
    // Of a unique key only one task is open at a time, and by now it is another.
    if (!isUniqueViolation(error)) throw error;
    throw new ProblemError('conflict', `another open task has the unique key of task ${taskId}`, { cause: error });
  });
  const task = await findTask(ctx, taskId);
  if (!retried) {
    const allowed = statesAllowing(TASK, 'retry').join(', ');
    throw new ProblemError(
      'conflict',
      `task ${taskId} is ${task.status}; only ${allowed} can be retried, once nothing of it runs`,
    );
  }
  ctx.notifier.tell('ready', [retried.class_id]);
  return showTask(task);
}
