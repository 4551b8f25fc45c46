import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/tasks';
import { newId } from '@muster/shared/ids';
import { type Batcher, createBatcher } from '../platform/batcher.ts';
import { type Ctx, type Deps, ownerOf } from '../platform/ctx.ts';
import type { Classes } from './classes.ts';
import { insertTasks, type NewTask } from './store/submit.ts';

/** A parked poll that may be given a task in the statement that inserts it. */
export interface Offer {
  agent_id: string;
  boot_id: string;
  /** The task is the agent's. */
  accept(fence: number, task: NewTask): void;
  /** It was not: the poll waits on. */
  decline(): void;
}

/** Finds parked polls for the tasks of a batch, by class. Dispatch gives one; tasks know no more of it. */
export type HandOff = (classIds: readonly number[]) => (Offer | undefined)[];

export type Submission = Omit<NewTask, 'task_id' | 'class_id' | 'agent_id' | 'boot_id'>;

/** Submits tasks: those that arrive together are inserted together. */
export interface Submitter {
  submit(submission: Submission): Promise<{ task: NewTask; status: 'PENDING' | 'ASSIGNED'; now: Date }>;
}

/** Postgres's cost of a task grows with its size: a batch holds so many bytes of JSON, or one task. Whoever sends much is not to make others wait. */
const BATCH_BYTES = 4_000_000;
const weight = ({ input_data }: NewTask) => BATCH_BYTES / 1_000 + input_data.length;

export function createSubmitter(
  { db, notifier }: Pick<Deps, 'db' | 'notifier'>,
  classes: Classes,
  handOff: HandOff,
): Submitter {
  const insert: Batcher<NewTask, { fence: number | undefined; now: Date }> = createBatcher(
    async (tasks) => {
      const offers = handOff(tasks.map((task) => (task.run_at === null ? task.class_id : 0)));
      const rows = tasks.map((task, n) => ({
        ...task,
        agent_id: offers[n]?.agent_id ?? null,
        boot_id: offers[n]?.boot_id ?? null,
      }));
      const inserted = await insertTasks(db.hot, rows).catch((error) => {
        for (const offer of offers) offer?.decline();
        throw error;
      });
      for (const [n, offer] of offers.entries()) {
        const fence = inserted.fences.get(n);
        if (fence === undefined) offer?.decline();
        else offer?.accept(fence, rows[n]!);
      }
      notifier.tell(
        'ready',
        rows.filter((_, n) => !inserted.fences.has(n)).map((row) => row.class_id),
      );
      return tasks.map((_, n) => ({ fence: inserted.fences.get(n), now: inserted.now }));
    },
    { inFlight: 2, maxItems: BATCH_BYTES, weight },
  );
  return {
    async submit(submission) {
      const class_id = await classes.idOf(submission.owner, submission.capability_required);
      const task: NewTask = { ...submission, task_id: newId('task'), class_id, agent_id: null, boot_id: null };
      const { fence, now } = await insert(task);
      return { task, status: fence === undefined ? 'PENDING' : 'ASSIGNED', now };
    },
  };
}

/** W3C Trace Context. What is no such thing is left out, as it says; an agent is not handed whatever somebody wrote. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export async function createTask(
  ctx: Ctx,
  submitter: Submitter,
  { body }: InputOf<typeof contract.createTask>,
): Promise<ResponseOf<typeof contract.createTask>> {
  const { task, status, now } = await submitter.submit({
    owner: ownerOf(ctx),
    client_id: body.client_id ?? null,
    task_type: body.task_type,
    capability_required: body.capability_required ?? body.task_type,
    input_data: JSON.stringify(body.input_data),
    priority: body.priority,
    timeout_seconds: body.timeout_seconds,
    max_retries: body.max_retries,
    retry_policy: body.retry_policy,
    tags: body.tags,
    metadata: JSON.stringify(body.metadata),
    schedule_id: null,
    traceparent: ctx.traceparent !== undefined && TRACEPARENT.test(ctx.traceparent) ? ctx.traceparent : null,
    run_at: body.run_at ?? null,
    expires_at: body.expires_at ?? null,
  });
  return {
    task_id: task.task_id,
    status,
    task_type: task.task_type,
    capability_required: task.capability_required,
    priority: task.priority,
    run_at: (task.run_at ? new Date(task.run_at) : now).toISOString(),
    created_at: now.toISOString(),
  };
}
