import { setTimeout as pause } from 'node:timers/promises';
import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/queue';
import { ProblemError } from '@muster/shared/errors';
import { isTerminal } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { findTask, showTask } from './read.ts';
import { moveRank } from './store/priority.ts';

/** Looks again when the task moved from one place to another in the very moment it was looked for. */
const TRIES = 10;

/** Gives a task that waits another priority. One that was handed out meanwhile keeps its own. */
export async function prioritiseTask(ctx: Ctx, { params, body }: InputOf<typeof contract.prioritiseTask>) {
  for (let tries = 1; ; tries += 1) {
    const moved = await moveRank(ctx.db.admin, params.task_id, body.priority, actorOf(ctx));
    const task = await findTask(ctx, params.task_id);
    if (moved) return showTask(task);
    if (isTerminal(task.status))
      throw new ProblemError('task-terminal', `task ${task.task_id} is already ${task.status}`);
    if (task.status !== 'PENDING' && task.status !== 'BLOCKED')
      throw new ProblemError('conflict', `task ${task.task_id} is ${task.status}; only one that waits can be moved`);
    if (tries === TRIES)
      throw new ProblemError('overloaded', `task ${task.task_id} moves too fast to be given a priority; try again`);
    await pause(tries * 5);
  }
}
