import { ProblemError } from '@muster/shared/errors';
import { fenceOf } from '@muster/shared/ids';
import { isTerminal } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { JsonText } from '../platform/endpoint.ts';
import { findTask } from '../tasks/read.ts';
import { findRun, recordOf } from './read.ts';
import * as store from './store/delete.ts';

/** Deletes an earlier run of a task that has ended. The run it ended with goes with the task. */
export async function deleteRun(ctx: Ctx, runId: string): Promise<JsonText> {
  const run = await findRun(ctx, runId);
  if (await store.deleteRun(ctx.db.admin, fenceOf(runId), actorOf(ctx))) return new JsonText(recordOf(run));
  const { status, finished_at, task_id } = await findRun(ctx, runId);
  if (finished_at === null)
    throw new ProblemError('conflict', `run ${runId} is ${status}; only one that has ended can be deleted`);
  const task = await findTask(ctx, task_id);
  throw new ProblemError(
    'conflict',
    isTerminal(task.status)
      ? `run ${runId} is the last of task ${task_id}, or another still runs or is wanted: it goes when the task goes`
      : `task ${task_id} is ${task.status}; its runs can be deleted once it has ended`,
  );
}
