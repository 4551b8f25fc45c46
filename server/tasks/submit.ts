import { newId } from '@muster/shared/ids';
import { type Batcher, createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from './classes.ts';
import type { Requirements } from './store/classes.ts';
import { type Inserted, insertBatch, insertTasks, type NewBatch, type NewTask } from './store/submit.ts';

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

/** What a task asks for, before it has a class. */
export type Submission = Omit<NewTask, 'task_id' | 'class_id' | 'agent_id' | 'boot_id'> &
  Pick<Requirements, 'labels_required' | 'labels_preferred' | 'slot_cost'>;

/** What became of a submission. `refused`: the request was there before, or an open task has its unique key. */
export interface Submitted {
  task: NewTask;
  status: 'BLOCKED' | 'PENDING' | 'ASSIGNED';
  refused: boolean;
  now: Date;
}

/** A task of a batch: its id is known before, for others to name. */
export type BatchSubmission = Submission & Pick<NewTask, 'task_id'>;

/** Submits tasks: those that arrive together are inserted together. */
export interface Submitter {
  submit(submission: Submission): Promise<Submitted>;
  /** Submits the tasks of a batch in one statement, all or none: a unique violation, where its request or a unique key is there already. */
  submitBatch(batch: NewBatch, submissions: readonly BatchSubmission[]): Promise<Submitted[]>;
}

/** Postgres's cost of a task grows with its size: a batch holds so many bytes of JSON, or one task. Whoever sends much is not to make others wait. */
const BATCH_BYTES = 4_000_000;
const weight = ({ input_data }: NewTask) => BATCH_BYTES / 1_000 + input_data.length;

/** Whether a task may be begun as it comes: nobody has told it to wait. */
const isReady = ({ run_at, depends_on, concurrency_key }: NewTask): boolean =>
  run_at === null && depends_on.length === 0 && concurrency_key === null;

export function createSubmitter(
  { db, notifier }: Pick<Deps, 'db' | 'notifier'>,
  classes: Classes,
  handOff: HandOff,
): Submitter {
  const isOffered = (task: NewTask) => isReady(task) && classes.find(task.class_id)?.slot_cost === 1;
  const place = async (
    tasks: readonly NewTask[],
    insert: (rows: NewTask[]) => Promise<Inserted>,
  ): Promise<Submitted[]> => {
    const offers = handOff(tasks.map((task) => (isOffered(task) ? task.class_id : 0)));
    const rows = tasks.map((task, n) => {
      const { agent_id, boot_id } = offers[n] ?? task;
      return { ...task, agent_id, boot_id };
    });
    const inserted = await insert(rows).catch((error) => {
      for (const offer of offers) offer?.decline();
      throw error;
    });
    for (const [n, offer] of offers.entries()) {
      const fence = inserted.fences.get(n);
      if (fence === undefined) offer?.decline();
      else offer?.accept(fence, rows[n]!);
    }
    const queued = rows.filter((row, n) => isReady(row) && !inserted.fences.has(n));
    notifier.tell('ready', [...new Set(queued.map((row) => row.class_id))]);
    return tasks.map((task, n) => ({
      task,
      status: inserted.fences.has(n) ? 'ASSIGNED' : task.depends_on.length > 0 ? 'BLOCKED' : 'PENDING',
      refused: inserted.refused.has(n),
      now: inserted.now,
    }));
  };
  const insertOne: Batcher<NewTask, Submitted> = createBatcher(
    (tasks) => place(tasks, (rows) => insertTasks(db.hot, rows)),
    { inFlight: 2, maxItems: BATCH_BYTES, weight },
  );
  // Each is a statement of its own: there is nothing to wait for but those before it.
  const insertWhole: Batcher<{ batch: NewBatch; tasks: NewTask[] }, Submitted[]> = createBatcher(
    (all) => Promise.all(all.map(({ batch, tasks }) => place(tasks, (rows) => insertBatch(db.hot, batch, rows)))),
    { inFlight: 2, maxItems: 1 },
  );
  const classed = async ({
    labels_required,
    labels_preferred,
    slot_cost,
    ...it
  }: BatchSubmission): Promise<NewTask> => {
    const { owner, capability_required: capability } = it;
    const class_id = await classes.idOf({ owner, capability, labels_required, labels_preferred, slot_cost });
    return { ...it, class_id, agent_id: null, boot_id: null };
  };
  return {
    submit: async (submission) => insertOne(await classed({ ...submission, task_id: newId('task') })),
    submitBatch: async (batch, submissions) =>
      insertWhole({ batch, tasks: await Promise.all(submissions.map(classed)) }),
  };
}
