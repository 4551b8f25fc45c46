import { newId } from '@muster/shared/ids';
import { type Batcher, createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from './classes.ts';
import type { Requirements } from './store/classes.ts';
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

/** Submits tasks: those that arrive together are inserted together. */
export interface Submitter {
  submit(submission: Submission): Promise<Submitted>;
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
  const insert: Batcher<NewTask, Pick<Submitted, 'status' | 'refused' | 'now'>> = createBatcher(
    async (tasks) => {
      const offers = handOff(
        tasks.map((task) => (isReady(task) && classes.find(task.class_id)?.slot_cost === 1 ? task.class_id : 0)),
      );
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
        rows.filter((row, n) => isReady(row) && !inserted.fences.has(n)).map((row) => row.class_id),
      );
      return tasks.map((task, n) => ({
        status: inserted.fences.has(n) ? 'ASSIGNED' : task.depends_on.length > 0 ? 'BLOCKED' : 'PENDING',
        refused: inserted.refused.has(n),
        now: inserted.now,
      }));
    },
    { inFlight: 2, maxItems: BATCH_BYTES, weight },
  );
  return {
    async submit({ labels_required, labels_preferred, slot_cost, ...submission }) {
      const { owner, capability_required: capability } = submission;
      const class_id = await classes.idOf({ owner, capability, labels_required, labels_preferred, slot_cost });
      const task: NewTask = { ...submission, task_id: newId('task'), class_id, agent_id: null, boot_id: null };
      return { task, ...(await insert(task)) };
    },
  };
}
