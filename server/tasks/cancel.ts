import { setTimeout as pause } from 'node:timers/promises';
import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/tasks';
import { ProblemError } from '@muster/shared/errors';
import { isTerminal } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { findTask, showTask } from './read.ts';
import * as store from './store/transitions.ts';

/** Looks again when the task moved from one place to another in the very moment it was looked for. */
const TRIES = 10;

export async function cancelTask(ctx: Ctx, { params, body }: InputOf<typeof contract.cancelTask>) {
  for (let tries = 1; ; tries += 1) {
    const cancelled = await store.cancelTask(ctx.db.admin, params.task_id, body.reason ?? null, actorOf(ctx));
    for (const run of cancelled ?? []) ctx.notifier.tell('cancelled', run);
    const task = await findTask(ctx, params.task_id);
    if (cancelled) return showTask(task);
    if (isTerminal(task.status))
      throw new ProblemError('task-terminal', `task ${task.task_id} is already ${task.status}`);
    if (tries === TRIES)
      throw new ProblemError('overloaded', `task ${task.task_id} moves too fast to be cancelled; try again`);
    await pause(tries * 5);
  }
}
