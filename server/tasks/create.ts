import { setTimeout as pause } from 'node:timers/promises';
import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/tasks';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { actorOf } from '../audit/record.ts';
import { type Ctx, ownerOf, shownOwner } from '../platform/ctx.ts';
import { mismatch, type Once, onceOf } from '../platform/idempotency.ts';
import { findTask } from './read.ts';
import { checkRepeatable } from './repeatable.ts';
import { setLimits } from './store/concurrency.ts';
import { missingTasks, settleDependencies } from './store/dependencies.ts';
import { findOnce, findUniques, forgetOnce, pointOnce } from './store/keys.ts';
import type { TaskRow } from './store/read.ts';
import { cancelTask } from './store/transitions.ts';
import type { Submission, Submitted, Submitter } from './submit.ts';
import { unblock } from './unblock.ts';

type Body = InputOf<typeof contract.createTask>['body'];
type Answer = ResponseOf<typeof contract.createTask>;

/** For so long it is tried again when what stood in the way has gone in the very moment it was looked at, with growing pauses, in milliseconds. */
export const TRY = { forMs: 5_000, pauseMs: 2, mostMs: 50 };

/** Submits a task. A request that was made before gets the task it made then; of a unique key only one task is open at a time. */
export async function createTask(ctx: Ctx, submitter: Submitter, { body }: { body: Body }): Promise<Answer> {
  const once = onceOf(ctx.idempotencyKey, body);
  checkRepeatable(body);
  await refuseUnknown(ctx, body.depends_on ?? []);
  const { concurrency_key: key, concurrency_limit: max } = body;
  if (key !== undefined) await setLimits(ctx.db.admin, ownerOf(ctx), new Map([[key, max]]));
  const until = performance.now() + TRY.forMs;
  for (let tries = 1; ; tries += 1) {
    const submitted = await submitter.submit(submissionOf(ctx, body, newId('task'), once));
    if (!submitted.refused) {
      // It is there, whatever becomes of this; the loop does so in any case.
      if (submitted.status === 'BLOCKED') await settle(ctx, [submitted.task.task_id]).catch(() => {});
      else if (key !== undefined) await unblock(ctx).catch(() => {});
      return answerOf(submitted);
    }
    const instead = await insteadOf(ctx, body, submitted, once, performance.now() > until);
    if (instead) return instead;
    await pause(Math.random() * Math.min(TRY.pauseMs * tries, TRY.mostMs));
  }
}

/** The answer where no task was made; undefined where the way is free now. `last`: nobody will go it. */
async function insteadOf(
  ctx: Ctx,
  { unique_key, unique_policy }: Body,
  { task: { task_id, owner } }: Submitted,
  once: Once | undefined,
  last: boolean,
): Promise<Answer | undefined> {
  const other = unique_key && (await findUniques(ctx.db.admin, owner, [unique_key])).get(unique_key);
  // Only now: what has the key may be what the same request made in the meantime.
  const before = once && (await findOnce(ctx.db.admin, owner, once.idempotency_key));
  if (once && before && before.request_hash !== once.request_hash) throw mismatch(once.idempotency_key);
  if (before?.task_id && before.made) return shown(await findTask(ctx, before.task_id));
  // A coordinator that died may have left it: what is remembered is of an earlier try, and stands for no task either.
  const tried = { owner, key: once?.idempotency_key ?? '', task_id: before?.task_id ?? task_id };
  if (other !== undefined && unique_policy === 'keep') {
    if (once) await pointOnce(ctx.db.admin, tried, other);
    return shown(await findTask(ctx, other));
  }
  // What was remembered of this try stands for no task.
  if (once) await forgetOnce(ctx.db.admin, tried);
  if (other !== undefined && unique_policy === 'reject')
    throw new ProblemError('conflict', `task ${other} has the unique key ${JSON.stringify(unique_key)}`);
  // Nothing is cancelled that is not replaced.
  if (last)
    throw new ProblemError('overloaded', `tasks of the unique key ${unique_key} come and go too fast; try again`);
  if (other === undefined) return undefined;
  for (const run of (await cancelTask(ctx.db.admin, other, 'replaced by another of its unique key', actorOf(ctx))) ??
    [])
    ctx.notifier.tell('cancelled', run);
  return undefined;
}

/** What a task waits for must be there, and be its owner's. */
async function refuseUnknown(ctx: Ctx, taskIds: readonly string[]): Promise<void> {
  if (taskIds.length === 0) return;
  const [missing] = await missingTasks(ctx.db.admin, shownOwner(ctx), taskIds);
  if (missing === undefined) return;
  const pointer = `#/depends_on/${taskIds.indexOf(missing)}`;
  throw new ProblemError('validation-failed', `${pointer} task ${missing} does not exist`, {
    errors: [{ pointer, detail: `task ${missing} does not exist` }],
  });
}

/** What it waits for may have ended while it was being submitted. */
export async function settle(ctx: Ctx, taskIds: readonly string[]): Promise<void> {
  const { settled } = await settleDependencies(ctx.db.admin, { taskIds });
  if (settled > 0) await unblock(ctx);
}

/** What a body asks for. */
export const submissionOf = (ctx: Ctx, body: Body, task_id: string, once?: Once): Submission => ({
  task_id,
  class_id: 0,
  agent_id: null,
  boot_id: null,
  owner: ownerOf(ctx),
  client_id: body.client_id ?? null,
  task_type: body.task_type,
  capability_required: body.capability_required ?? body.task_type,
  input_data: JSON.stringify(body.input_data),
  priority: body.priority,
  timeout_seconds: Math.min(body.timeout_seconds, body.task_timeout_seconds ?? body.timeout_seconds),
  max_retries: body.max_retries,
  retry_policy: body.retry_policy,
  retry_base_ms: body.retry_base_ms,
  retry_cap_ms: body.retry_cap_ms,
  retry_jitter: body.retry_jitter,
  non_retryable: body.non_retryable,
  task_timeout_seconds: body.task_timeout_seconds ?? null,
  labels_required: body.labels_required,
  labels_preferred: body.labels_preferred,
  slot_cost: body.slot_cost,
  min_trust: body.min_trust,
  min_integrity: body.min_integrity,
  routing: body.routing,
  tags: body.tags,
  metadata: JSON.stringify(body.metadata),
  unique_key: body.unique_key ?? null,
  concurrency_key: body.concurrency_key ?? null,
  depends_on: body.depends_on ?? [],
  on_dependency_failure: body.on_dependency_failure,
  idempotency_key: once?.idempotency_key ?? null,
  request_hash: once?.request_hash ?? null,
  schedule_id: null,
  verification: body.verification === 'none' ? null : JSON.stringify(body.verification),
  traceparent: ctx.traceparent !== undefined && TRACEPARENT.test(ctx.traceparent) ? ctx.traceparent : null,
  run_at: body.run_at ?? null,
  expires_at: body.expires_at ?? null,
});

/** W3C Trace Context. What is no such thing is left out, as it says; an agent is not handed whatever somebody wrote. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

const answerOf = ({ task, status, now }: Submitted): Answer => ({
  task_id: task.task_id,
  status,
  task_type: task.task_type,
  capability_required: task.capability_required,
  priority: task.priority,
  run_at: (task.run_at ? new Date(task.run_at) : now).toISOString(),
  created_at: now.toISOString(),
});

/** The same of a task that was there before, as it is now. */
const shown = ({ task_id, status, task_type, capability_required, priority, run_at, created_at }: TaskRow): Answer => ({
  task_id,
  status,
  task_type,
  capability_required,
  priority,
  run_at: run_at.toISOString(),
  created_at: created_at.toISOString(),
});
