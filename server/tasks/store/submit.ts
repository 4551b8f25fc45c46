import { runEvent, taskEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { KEPT_HOURS } from '../../platform/idempotency.ts';

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

/** The longest a run may take, in seconds: no longer than what is left of its task's whole time. */
export const runTimeout = (now: string): string => `
  case when task_timeout_seconds is null then timeout_seconds
    else greatest(1, least(timeout_seconds, ceil(extract(epoch from run_at + make_interval(secs => task_timeout_seconds) - ${now}))))::int end`;

/** Rank: run_at moved earlier by five minutes per priority step. Ageing without ever touching a row again. */
export const RANK = `run_at - priority * interval '5 minutes'`;

const COLUMNS = [
  'task_id',
  'class_id',
  'owner',
  'client_id',
  'task_type',
  'capability_required',
  'input_data',
  'priority',
  'timeout_seconds',
  'max_retries',
  'retry_policy',
  'retry_base_ms',
  'retry_cap_ms',
  'retry_jitter',
  'non_retryable',
  'task_timeout_seconds',
  'tags',
  'metadata',
  'unique_key',
  'concurrency_key',
  'depends_on',
  'on_dependency_failure',
  'idempotency_key',
  'request_hash',
  'schedule_id',
  'traceparent',
  'run_at',
  'expires_at',
  'agent_id',
  'boot_id',
] as const satisfies (keyof NewTask)[];
const TYPES: Partial<Record<(typeof COLUMNS)[number], string>> = {
  class_id: 'bigint',
  priority: 'smallint',
  timeout_seconds: 'int',
  max_retries: 'smallint',
  retry_base_ms: 'int',
  retry_cap_ms: 'int',
  retry_jitter: 'boolean',
  task_timeout_seconds: 'int',
  run_at: 'timestamptz',
  expires_at: 'timestamptz',
};

/** The request that makes a batch, and the batch: rows of their own before those of its tasks. Parameters follow the columns. */
const [BATCH_ID, OWNER, ATOMIC, SIZE, OTHERS, KEY, HASH, INDEXES, NEEDED] = Array.from(
  { length: 9 },
  (_, n) => `$${COLUMNS.length + 1 + n}`,
);
const REMEMBERED_BATCH = `
remembered as (
  insert into idempotency_keys (owner, idempotency_key, request_hash, batch_id, expires_at)
  select ${OWNER}::text, ${KEY}, ${HASH}, ${BATCH_ID}::text, now + interval '${KEPT_HOURS} hours' from clock where ${KEY}::text is not null returning task_id
),
batch as (
  insert into batches (batch_id, owner, atomic, size, others, created_at)
  select ${BATCH_ID}, ${OWNER}, ${ATOMIC}::boolean, ${SIZE}::int, ${OTHERS}::jsonb, now from clock
),`;
const REMEMBERED = `
remembered as (
  insert into idempotency_keys (owner, idempotency_key, request_hash, task_id, expires_at)
  select owner, idempotency_key, request_hash, task_id, now + interval '${KEPT_HOURS} hours' from x, clock where idempotency_key is not null order by 1, 2
  on conflict do nothing returning task_id
),`;

/**
 * Inserts tasks. One that fits a parked poll is leased in this very statement, if the agent still has a slot, is open and
 * beats; the rest go to `ready`, to `delayed` until their time, or to `blocked` until what they need has ended. A request that was made before,
 * and a task whose unique key is taken, makes none; one with a concurrency key waits in `gated` until there is room. Agents are locked in id order, as everywhere.
 * Of a batch either all are made or, when its request or a unique key is there already, the statement fails.
 */
const insertText = (batched: boolean) => `
with clock as materialized (select muster_now() as now),
x as materialized (
  select u.*, coalesce(given_run_at, now) as run_at from clock, unnest(${COLUMNS.map((name, n) => `$${n + 1}::text::${TYPES[name] ?? 'text'}[]`).join(', ')})
  with ordinality as u(${COLUMNS.join(', ').replace('run_at', 'given_run_at')}, ord)
),${batched ? REMEMBERED_BATCH : REMEMBERED}
reserved as (
  insert into unique_keys (owner, unique_key, task_id)
  select owner, unique_key, task_id from x
  -- All requests before all unique keys, in every batch: two that meet in both never wait for each other.
  where unique_key is not null and (select count(*) from remembered) >= 0 and (idempotency_key is null or task_id in (select task_id from remembered)) order by 1, 2
  ${batched ? '' : 'on conflict do nothing'} returning task_id
),
y as materialized (
  select x.*, now, ${RANK} as rank, run_at <= now and depends_on = '{}' and concurrency_key is null as due, depends_on <> '{}' as bound from x, clock
  where (idempotency_key is null or task_id in (select task_id from remembered)) and (unique_key is null or task_id in (select task_id from reserved))
),
inserted as (
  insert into tasks (task_id, class_id, owner, client_id, task_type, capability_required, input_data, priority, rank, timeout_seconds,
    max_retries, retry_policy, retry_base_ms, retry_cap_ms, retry_jitter, non_retryable, task_timeout_seconds, tags, metadata, unique_key, concurrency_key, depends_on,
    on_dependency_failure, schedule_id, traceparent, run_at,
    expires_at, created_at${batched ? ', batch_id, batch_index, has_dependents' : ''})
  select task_id, class_id, owner, client_id, task_type, capability_required, input_data::json, priority, rank, timeout_seconds,
    max_retries, retry_policy, retry_base_ms, retry_cap_ms, retry_jitter, non_retryable::text[], task_timeout_seconds, tags::text[], metadata::jsonb, unique_key, concurrency_key,
    nullif(depends_on::text[], '{}'), case when bound then on_dependency_failure end, schedule_id, traceparent, run_at, expires_at, now
    ${batched ? `, ${BATCH_ID}, (${INDEXES}::int[])[ord], task_id = any(${NEEDED}::text[])` : ''} from y
),
willing as materialized (
  select a.agent_id, g.boot_id, least(g.want, a.slots - a.slots_used) as n
  from (select agent_id, boot_id, count(*) as want from y where agent_id is not null and due group by 1, 2 order by 1) g
  cross join lateral (select agent_id, slots, slots_used from agents
    where agents.agent_id = g.agent_id and agents.boot_id = g.boot_id and left_at is null and mode = 'OPEN' for no key update) a
  cross join lateral (select 1 from presence p where p.agent_id = g.agent_id and p.lease_expires_at > (select now from clock) offset 0) p
),
handed as materialized (
  select z.*, nextval('fence_seq') as fence
  from (select y.*, row_number() over (partition by agent_id, boot_id order by ord) as k from y where agent_id is not null and due) z
  join willing w on w.agent_id = z.agent_id and w.boot_id = z.boot_id where z.k <= w.n
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds)
  select fence, task_id, 0, agent_id, class_id, capability_required, 1, 0, now, ${runTimeout('now')} from handed
),
slots as (
  update agents set slots_used = slots_used + g.n from (select agent_id, count(*) as n from handed group by 1) g
  where agents.agent_id = any(array(select agent_id from willing)) and agents.agent_id = g.agent_id
),
queued as (
  insert into ready (class_id, rank, task_id, replica, attempt, failures)
  select class_id, rank, task_id, 0, 0, 0 from y where due and (ord in (select ord from handed)) is not true
),
later as (
  insert into delayed (run_at, task_id, replica, class_id, rank, attempt, failures)
  select run_at, task_id, 0, class_id, rank, 0, 0 from y where not due and not bound and concurrency_key is null
),
gate as (
  insert into gated (owner, concurrency_key, rank, task_id, class_id, run_at)
  select owner, concurrency_key, rank, task_id, class_id, run_at from y where concurrency_key is not null and not bound
),
edges as (
  insert into dependencies (needs_task_id, task_id, created_at)
  select needs, task_id, now from y cross join lateral (select distinct unnest(depends_on::text[]) as needs) d where bound
  returning needs_task_id, task_id
),
waiting as (
  insert into blocked (task_id, class_id, open, on_failure, created_at)
  select y.task_id, y.class_id, e.open, y.on_dependency_failure, y.now from y
  join (select task_id, count(*)::int as open from edges group by 1) e on e.task_id = y.task_id
),
needed as (
  update tasks set has_dependents = true where task_id = any(array(select distinct needs_task_id from edges)) and not has_dependents
),
limited as (
  insert into expiring (expires_at, task_id, started)
  select expires_at, task_id, false from y where expires_at is not null
  union all select run_at + make_interval(secs => task_timeout_seconds), task_id, true from y where task_timeout_seconds is not null
),
-- Parts nobody reads are run from the last to the first: created is told before assigned.
assigned as (${runEvent('run.assigned', 'handed')}),
created as (${taskEvent('task.created', 'y')})
select c.now, h.ord::int as ord, h.fence from clock c left join (
  select ord, fence from handed
  union all select ord, null from x where (idempotency_key is not null or unique_key is not null) and (ord in (select ord from y)) is not true
) h on true`;

const INSERT = insertText(false);
const INSERT_BATCH = insertText(true);

export const insertTasks = (hot: Sql, tasks: readonly NewTask[]): Promise<Inserted> => insert(hot, INSERT, tasks, []);

/** Inserts a batch with its tasks, or fails as a unique violation: of `idempotency_keys` or of `unique_keys`. */
export const insertBatch = (hot: Sql, it: NewBatch, tasks: readonly NewTask[]): Promise<Inserted> =>
  insert(hot, INSERT_BATCH, tasks, [
    it.batch_id,
    it.owner,
    it.atomic,
    it.size,
    it.others,
    it.idempotency_key,
    it.request_hash,
    arrayLiteral(it.indexes),
    arrayLiteral(it.needed),
  ]);

async function insert(
  hot: Sql,
  text: string,
  tasks: readonly NewTask[],
  more: (string | number | boolean | null)[],
): Promise<Inserted> {
  const columns = COLUMNS.map((name) =>
    arrayLiteral(
      tasks.map((task) => {
        const value = task[name];
        return Array.isArray(value) ? arrayLiteral(value as string[]) : (value as string | number | boolean | null);
      }),
    ),
  );
  const rows = await hot.unsafe<{ now: Date; ord: number | null; fence: string | null }[]>(
    text,
    [...columns, ...more],
    { prepare: true },
  );
  const fences = new Map(rows.filter((row) => row.fence !== null).map((row) => [row.ord! - 1, Number(row.fence)]));
  const refused = rows.filter((row) => row.ord !== null && row.fence === null).map((row) => row.ord! - 1);
  return { now: rows[0]!.now, fences, refused: new Set(refused) };
}
