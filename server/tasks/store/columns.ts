import { BACKOFF_BASE_MS, BACKOFF_CAP_MS } from '@muster/shared/backoff';

/** The columns of a new task, and the type each array is read as where that is not text. */
const PLAIN = {
  agent_id: 'text',
  boot_id: 'text',
  task_id: 'text',
  class_id: 'bigint',
  owner: 'text',
  client_id: 'text',
  task_type: 'text',
  capability_required: 'text',
  input_data: 'text',
  priority: 'smallint',
  timeout_seconds: 'int',
  max_retries: 'smallint',
  retry_policy: 'text',
  tags: 'text',
  metadata: 'text',
  traceparent: 'text',
} as const;
const SPECIAL = {
  retry_base_ms: 'int',
  retry_cap_ms: 'int',
  retry_jitter: 'boolean',
  non_retryable: 'text',
  task_timeout_seconds: 'int',
  unique_key: 'text',
  concurrency_key: 'text',
  depends_on: 'text',
  on_dependency_failure: 'text',
  idempotency_key: 'text',
  request_hash: 'text',
  schedule_id: 'text',
  verification: 'text',
  run_at: 'timestamptz',
  expires_at: 'timestamptz',
} as const;
export type Column = keyof typeof PLAIN | keyof typeof SPECIAL;

/** What a plain task has in the columns it does not name; the table's defaults are the same. */
const DEFAULTS = {
  retry_base_ms: BACKOFF_BASE_MS,
  retry_cap_ms: BACKOFF_CAP_MS,
  retry_jitter: true,
  non_retryable: [],
  task_timeout_seconds: null,
  unique_key: null,
  concurrency_key: null,
  depends_on: [],
  idempotency_key: null,
  schedule_id: null,
  verification: null,
  run_at: null,
  expires_at: null,
} as const satisfies Partial<Record<keyof typeof SPECIAL, unknown>>;
const TELLING = Object.entries(DEFAULTS) as [Column, unknown][];

/** Whether a task may be begun as it comes and asks for nothing out of the ordinary. */
export const isPlain = (task: Record<Column, unknown>): boolean =>
  TELLING.every(([name, usual]) =>
    Array.isArray(usual) ? (task[name] as unknown[]).length === 0 : task[name] === usual,
  );

/** Whether a task holds no key and is not checked, said of its row: none of that changes in its life. */
export const LONE = 'unique_key is null and concurrency_key is null and verification is null';

/** How tasks are inserted: all of them plain, those also alike, and as a batch. */
export interface Form {
  plain: boolean;
  alike: boolean;
  batched: boolean;
}

/** What plain tasks that are otherwise alike have each for itself. */
const OWN: readonly Column[] = ['agent_id', 'boot_id', 'task_id', 'input_data'];
const SHARED = (Object.keys(PLAIN) as Column[]).filter((name) => !OWN.includes(name));

/** Whether plain tasks differ in nothing but what each has for itself, as those of a batch mostly do. */
export const areAlike = ([first, ...others]: readonly Record<Column, unknown>[]): boolean =>
  first !== undefined && others.every((task) => SHARED.every((name) => isSame(task[name], first[name])));

const isSame = (one: unknown, other: unknown): boolean =>
  one === other ||
  (Array.isArray(one) && Array.isArray(other) && one.length === other.length && one.every((it, n) => it === other[n]));

/** Whether a form takes one value for all its tasks. */
export const isShared = ({ alike }: Form, name: Column): boolean => alike && SHARED.includes(name);

export const typesOf = ({ plain }: Form): Partial<Record<Column, string>> => (plain ? PLAIN : { ...PLAIN, ...SPECIAL });

/** The columns a form takes an array of each, or one value, in the order of its parameters. */
export const columnsOf = (form: Form) => Object.keys(typesOf(form)) as Column[];
