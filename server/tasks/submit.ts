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

/** A task that is still to be given its class, by what it asks of an agent. */
export type Submission = NewTask & Omit<Requirements, 'owner' | 'capability' | 'verified'>;

/** What became of a submission. `refused`: the request was there before, or an open task has its unique key. */
export interface Submitted {
  task: NewTask;
  status: 'BLOCKED' | 'PENDING' | 'ASSIGNED';
  refused: boolean;
  now: Date;
}

/** Submits tasks: those that arrive together are inserted together. */
export interface Submitter {
  submit(submission: Submission): Promise<Submitted>;
  /** Submits the tasks of a batch in one statement, all or none: a unique violation, where its request or a unique key is there already. */
  submitBatch(batch: NewBatch, submissions: Submission[]): Promise<Submitted[]>;
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
  // One that is verified is claimed: then it is known by whom, and decided how closely it is looked at.
  const isOffered = (task: NewTask) =>
    isReady(task) && task.verification === null && classes.find(task.class_id)?.slot_cost === 1;
  const place = async (tasks: NewTask[], insert: () => Promise<Inserted>): Promise<Submitted[]> => {
    const offers = handOff(tasks.map((task) => (isOffered(task) ? task.class_id : 0)));
    for (const [n, task] of tasks.entries()) {
      task.agent_id = offers[n]?.agent_id ?? null;
      task.boot_id = offers[n]?.boot_id ?? null;
    }
    const inserted = await insert().catch((error) => {
      for (const offer of offers) offer?.decline();
      throw error;
    });
    for (const [n, offer] of offers.entries()) {
      const fence = inserted.fences.get(n);
      if (fence === undefined) offer?.decline();
      else offer?.accept(fence, tasks[n]!);
    }
    const queued = tasks.filter((task, n) => isReady(task) && !inserted.fences.has(n));
    notifier.tell('ready', [...new Set(queued.map((task) => task.class_id))]);
    return tasks.map((task, n) => ({
      task,
      status: inserted.fences.has(n) ? 'ASSIGNED' : task.depends_on.length > 0 ? 'BLOCKED' : 'PENDING',
      refused: inserted.refused.has(n),
      now: inserted.now,
    }));
  };
  const insertOne: Batcher<NewTask, Submitted> = createBatcher(
    (tasks) => place(tasks, () => insertTasks(db.hot, tasks)),
    { inFlight: 2, maxItems: BATCH_BYTES, weight },
  );
  // Each is a statement of its own: there is nothing to wait for but those before it.
  const insertWhole: Batcher<{ batch: NewBatch; tasks: NewTask[] }, Submitted[]> = createBatcher(
    (all) => Promise.all(all.map(({ batch, tasks }) => place(tasks, () => insertBatch(db.hot, batch, tasks)))),
    { inFlight: 2, maxItems: 1 },
  );
  // Into the task itself: a copy of so many properties takes longer than reading them from JSON.
  const classify = async (it: Submission): Promise<void> => {
    const { owner, capability_required: capability, labels_required, labels_preferred, slot_cost } = it;
    const { min_trust, min_integrity, routing } = it;
    const verified = it.verification !== null;
    it.class_id = await classes.idOf({
      owner,
      capability,
      labels_required,
      labels_preferred,
      slot_cost,
      verified,
      min_trust,
      min_integrity,
      routing,
    });
  };
  return {
    async submit(submission) {
      await classify(submission);
      return insertOne(submission);
    },
    async submitBatch(batch, submissions) {
      await Promise.all(submissions.map(classify));
      return insertWhole({ batch, tasks: submissions });
    },
  };
}
