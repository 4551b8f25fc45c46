import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { areAlike, type Column, columnsOf, type Form, isPlain, isShared } from './columns.ts';
import { INSERT_ONE, insertText } from './insert.ts';

/** A task to be inserted. `agent_id`: the parked poll that may have it in the same statement. JSON is text, never parsed again. */
export interface NewTask {
  task_id: string;
  class_id: number;
  owner: string;
  client_id: string | null;
  task_type: string;
  capability_required: string;
  input_data: string;
  priority: number;
  timeout_seconds: number;
  max_retries: number;
  retry_policy: string;
  retry_base_ms: number;
  retry_cap_ms: number;
  retry_jitter: boolean;
  non_retryable: readonly string[];
  task_timeout_seconds: number | null;
  tags: readonly string[];
  metadata: string;
  unique_key: string | null;
  concurrency_key: string | null;
  depends_on: readonly string[];
  on_dependency_failure: string | null;
  /** A request that counts once, and its hash. */
  idempotency_key: string | null;
  request_hash: string | null;
  schedule_id: string | null;
  verification: string | null;
  traceparent: string | null;
  run_at: string | null;
  expires_at: string | null;
  agent_id: string | null;
  boot_id: string | null;
}

/** A batch of tasks, and the request that makes it where that is to count once. */
export interface NewBatch {
  batch_id: string;
  owner: string;
  atomic: boolean;
  size: number;
  /** JSON: of its members those that are no tasks of it, by index, and what became of each instead. */
  others: string;
  idempotency_key: string | null;
  request_hash: string | null;
  /** Which of its members its tasks are, in the order of the tasks. */
  indexes: readonly number[];
  /** Tasks of it that others of it wait for. */
  needed: readonly string[];
}

export interface Inserted {
  now: Date;
  /** By position in the batch: the fence of each task that was handed off. */
  fences: Map<number, number>;
  /** Positions of tasks that were not made: the request was there before, or an open task has their unique key. */
  refused: Set<number>;
}

const FORMS = [
  { plain: false, alike: false },
  { plain: true, alike: false },
  { plain: true, alike: true },
].flatMap((of) => [true, false].map((batched): Form => ({ ...of, batched })));
const TEXTS = new Map(FORMS.map((form) => [form, insertText(form)]));

/** Inserts tasks, each for itself. */
export const insertTasks = (hot: Sql, tasks: readonly NewTask[]): Promise<Inserted> => insert(hot, false, tasks, []);

/** Inserts a batch with its tasks, or fails as a unique violation: of `idempotency_keys` or of `unique_keys`. */
export const insertBatch = (hot: Sql, it: NewBatch, tasks: readonly NewTask[]): Promise<Inserted> =>
  insert(hot, true, tasks, [
    it.batch_id,
    it.owner,
    it.atomic,
    it.size,
    it.others,
    ...endsOf(tasks.map((task) => task.task_id)),
    it.idempotency_key,
    it.request_hash,
    arrayLiteral(it.indexes),
    arrayLiteral(it.needed),
  ]);

/** The least and the greatest of some ids; nulls where there are none. */
const endsOf = (ids: readonly string[]): (string | null)[] => [
  ids.reduce<string | null>((least, id) => (least === null || id < least ? id : least), null),
  ids.reduce<string | null>((greatest, id) => (greatest === null || id > greatest ? id : greatest), null),
];

async function insert(
  hot: Sql,
  batched: boolean,
  tasks: readonly NewTask[],
  more: (string | number | boolean | null)[],
): Promise<Inserted> {
  const plain = tasks.every(isPlain);
  const alike = plain && areAlike(tasks);
  const form = FORMS.find((one) => one.plain === plain && one.alike === alike && one.batched === batched)!;
  const names = columnsOf(form);
  const alone = plain && !batched && tasks.length === 1;
  const rows = await hot.unsafe<{ now: Date; ord: number | null; fence: string | null }[]>(
    alone ? INSERT_ONE : TEXTS.get(form)!,
    [
      ...names.map((name) => (alone || isShared(form, name) ? cellOf(tasks[0]!, name) : columnOf(tasks, name))),
      ...more,
    ],
    { prepare: true },
  );
  const fences = new Map(rows.filter((row) => row.fence !== null).map((row) => [row.ord! - 1, Number(row.fence)]));
  const refused = rows.filter((row) => row.ord !== null && row.fence === null).map((row) => row.ord! - 1);
  return { now: rows[0]!.now, fences, refused: new Set(refused) };
}

const cellOf = (task: NewTask, name: Column) => {
  const value = task[name];
  return Array.isArray(value) ? arrayLiteral(value as string[]) : (value as string | number | boolean | null);
};

/** A shorter array is filled up with nulls: one of nobody's values is empty. */
const columnOf = (tasks: readonly NewTask[], name: Column): string =>
  tasks.every((task) => task[name] === null) ? '{}' : arrayLiteral(tasks.map((task) => cellOf(task, name)));
