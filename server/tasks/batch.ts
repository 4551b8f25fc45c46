import { setTimeout as pause } from 'node:timers/promises';
import type * as contract from '@muster/shared/contract/batches';
import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { actorOf, recordAudit } from '../audit/record.ts';
import { type Ctx, ownerOf, shownOwner } from '../platform/ctx.ts';
import { told } from '../platform/errors.ts';
import { mismatch, type Once, onceOf } from '../platform/idempotency.ts';
import { isUniqueViolation } from '../platform/storage-errors.ts';
import { type Member, membersOf, refusalOf, refuse, refuseFollowers } from './batch-members.ts';
import { settle, submissionOf, TRY } from './create.ts';
import { type BatchRow, findBatch, type Other, statesOfBatch } from './store/batches.ts';
import { setLimits } from './store/concurrency.ts';
import { missingTasks } from './store/dependencies.ts';
import { findOnce, findUniques } from './store/keys.ts';
import { cancelTasks, stoppedRuns } from './store/transitions.ts';
import type { Submission, Submitted, Submitter } from './submit.ts';
import { unblock } from './unblock.ts';

type Body = InputOf<typeof contract.createBatch>['body'];
type Answer = ResponseOf<typeof contract.createBatch>;

/** Submits many tasks in one statement. Those that are refused refuse all, or are left out where the batch is not atomic. */
export async function createBatch(ctx: Ctx, submitter: Submitter, { body }: { body: Body }): Promise<Answer> {
  const once = onceOf(ctx.idempotencyKey, body);
  const before = once && (await answeredBefore(ctx, once));
  if (before) return before;
  const members = membersOf(body.tasks);
  await refuseUnknown(ctx, members);
  const batch_id = newId('batch');
  const until = performance.now() + TRY.forMs;
  for (let tries = 1; ; tries += 1) {
    const open = await openKeys(ctx, members);
    // What has a key of it may be what the same request made in the meantime.
    const same = once && open.size > 0 && (await answeredBefore(ctx, once));
    if (same) return same;
    const standing = lookForKeys(members, body.atomic, open);
    const made = members.filter(({ problem, task_id }) => !problem && !standing.instead.has(task_id));
    await limitKeys(ctx, made);
    await replace(ctx, standing.replaced);
    const batch = { batch_id, owner: ownerOf(ctx), atomic: body.atomic, size: members.length };
    const others = othersOf(members, standing.instead);
    try {
      const submitted = await submitter.submitBatch(
        { ...batch, others: JSON.stringify(others), ...(once ?? NOT_ONCE), ...placesOf(made, standing.instead) },
        made.map((member) => submissionIn(ctx, member, standing.instead)),
      );
      await goOn(ctx, made, submitted, standing.instead);
      return answerOf({ ...batch, others }, await statesOf(ctx, { batch_id, others }, made, submitted));
    } catch (error) {
      // All of it or nothing: what stood in the way came up after it was looked for.
      if (!isUniqueViolation(error)) throw error;
      const twin = once && (await answeredBefore(ctx, once));
      if (twin) return twin;
      if (performance.now() > until)
        throw new ProblemError('overloaded', 'tasks of its unique keys come and go too fast; try again', {
          cause: error,
        });
    }
    await pause(Math.random() * Math.min(TRY.pauseMs * tries, TRY.mostMs));
  }
}

const NOT_ONCE = { idempotency_key: null, request_hash: null };

/** What the same request was answered, as it is now; undefined where it was not made before. */
async function answeredBefore(ctx: Ctx, { idempotency_key, request_hash }: Once): Promise<Answer | undefined> {
  const before = await findOnce(ctx.db.admin, ownerOf(ctx), idempotency_key);
  if (before && before.request_hash !== request_hash) throw mismatch(idempotency_key);
  const batch = before?.batch_id && (await findBatch(ctx.db.admin, before.batch_id));
  return batch ? answerOf(batch, await statesOfBatch(ctx.db.admin, batch)) : undefined;
}

/** What a task waits for must be there, and be its owner's. */
async function refuseUnknown(ctx: Ctx, members: readonly Member[]): Promise<void> {
  const needed = new Set(members.flatMap(({ task }) => task.depends_on ?? []));
  if (needed.size === 0) return;
  const missing = new Set(await missingTasks(ctx.db.admin, shownOwner(ctx), [...needed]));
  for (const member of members)
    for (const [n, id] of (member.task.depends_on ?? []).entries())
      if (missing.has(id)) refuse(member, `depends_on/${n}`, `task ${id} does not exist`);
}

/** What stands in the way of members: for those that keep it, which task instead of theirs, by their id; and what the others replace. */
interface Standing {
  instead: Map<string, string>;
  replaced: string[];
}

/** The open tasks that have unique keys of members, by key. */
async function openKeys(ctx: Ctx, members: readonly Member[]): Promise<Map<string, string>> {
  const keys = new Set(members.flatMap(({ task }) => task.unique_key ?? []));
  return keys.size > 0 ? findUniques(ctx.db.admin, ownerOf(ctx), [...keys]) : new Map();
}

/** Looks who has the unique keys of members. Refuses those that are not to share one, and throws where that refuses all. */
function lookForKeys(members: readonly Member[], atomic: boolean, open: ReadonlyMap<string, string>): Standing {
  const refusal = atomic && refusalOf(members);
  if (refusal) throw refusal;
  refuseFollowers(members);
  const standing: Standing = { instead: new Map(), replaced: [] };
  const first = new Map<string, Member>();
  for (const member of members) {
    const { unique_key: key, unique_policy: policy } = member.task;
    if (key === undefined || member.problem) continue;
    const [twin, other] = [first.get(key), open.get(key)];
    const taken = twin?.task_id ?? (policy === 'replace' ? undefined : other);
    if (taken === undefined) {
      first.set(key, member);
      if (other !== undefined) standing.replaced.push(other);
    } else if (policy === 'keep') standing.instead.set(member.task_id, taken);
    else {
      const whose = twin ? `#/tasks/${twin.index} of this batch` : `task ${taken}`;
      refuse(member, 'unique_key', `${whose} has the unique key ${JSON.stringify(key)}`, 'conflict');
    }
  }
  const late = atomic && refusalOf(members);
  if (late) throw late;
  // Whoever waits for one that was just refused may have had a key that another wants.
  return refuseFollowers(members) ? lookForKeys(members, atomic, open) : standing;
}

/** Of a key what was said last holds. */
async function limitKeys(ctx: Ctx, members: readonly Member[]): Promise<void> {
  const limits = new Map<string, number>();
  for (const { task } of members)
    if (task.concurrency_key !== undefined) limits.set(task.concurrency_key, task.concurrency_limit);
  if (limits.size > 0) await setLimits(ctx.db.admin, ownerOf(ctx), limits);
}

/** All in one statement: it is done, or not, like the batch. */
async function replace(ctx: Ctx, taskIds: readonly string[]): Promise<void> {
  if (taskIds.length === 0) return;
  const { admin: sql } = ctx.db;
  const audit = recordAudit(sql, actorOf(ctx), 'task.cancel');
  const rows = await cancelTasks(sql, taskIds, 'replaced by another of its unique key', audit);
  for (const run of stoppedRuns(rows)) ctx.notifier.tell('cancelled', run);
}

const othersOf = (members: readonly Member[], instead: Standing['instead']): Other[] =>
  members.flatMap(({ index, task_id, problem }) => {
    const kept = instead.get(task_id);
    if (problem) return { index, problem: told(problem) };
    return kept === undefined ? [] : { index, task_id: kept };
  });

/** Which members the tasks of a batch are, and which of them others wait for. */
const placesOf = (made: readonly Member[], instead: Standing['instead']) => ({
  indexes: made.map(({ index }) => index),
  needed: [...new Set(made.flatMap((member) => innerNeeds(member, instead)))],
});

const innerNeeds = ({ needs }: Member, instead: Standing['instead']): string[] =>
  needs.map(({ task_id }) => instead.get(task_id) ?? task_id);

function submissionIn(ctx: Ctx, member: Member, instead: Standing['instead']): Submission {
  const submission = submissionOf(ctx, member.task, member.task_id);
  if (member.needs.length > 0) submission.depends_on = [...submission.depends_on, ...innerNeeds(member, instead)];
  return submission;
}

/** They are there, whatever becomes of this: what they wait for may have ended meanwhile, or their key has room. The loop does so in any case. */
async function goOn(
  ctx: Ctx,
  made: readonly Member[],
  submitted: readonly Submitted[],
  instead: Standing['instead'],
): Promise<void> {
  const blocked = made.filter(
    (member, n) =>
      submitted[n]!.status === 'BLOCKED' &&
      (member.task.depends_on?.length || member.needs.some(({ task_id }) => instead.has(task_id))),
  );
  const ids = blocked.map(({ task_id }) => task_id);
  if (ids.length > 0) await settle(ctx, ids).catch(() => {});
  if (made.some(({ task }) => task.concurrency_key !== undefined)) await unblock(ctx).catch(() => {});
}

type State = Awaited<ReturnType<typeof statesOfBatch>>[number];

/** Where all are its own, what was just made of them; tasks that stand for others are looked up. */
async function statesOf(
  ctx: Ctx,
  batch: Pick<BatchRow, 'batch_id' | 'others'>,
  made: readonly Member[],
  submitted: readonly Submitted[],
): Promise<State[]> {
  if (batch.others.some(({ task_id }) => task_id)) return statesOfBatch(ctx.db.admin, batch);
  return made.map(({ index, task_id }, n) => ({ index, task_id, status: submitted[n]!.status }));
}

function answerOf(
  { batch_id, atomic, size, others }: Omit<BatchRow, 'owner' | 'created_at'>,
  states: readonly State[],
): Answer {
  const results: Answer['results'] = Array.from({ length: size }, (_, index) => ({ index }));
  const statuses = new Map(states.map(({ task_id, status }) => [task_id, status]));
  for (const { index, task_id, status } of states) if (index !== null) results[index] = { index, task_id, status };
  for (const { index, task_id, problem } of others) {
    const status = task_id && statuses.get(task_id);
    results[index] = {
      index,
      ...(task_id ? { task_id } : {}),
      ...(status ? { status } : {}),
      ...(problem ? { problem } : {}),
    };
  }
  const refused = others.filter(({ problem }) => problem).length;
  return { batch_id, atomic, created: size - others.length, refused, results };
}
