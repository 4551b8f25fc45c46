import { BACKOFF_BASE_MS, BACKOFF_CAP_MS } from '@muster/shared/backoff';
import { runEvent, taskEvent } from '../../events/record.ts';
import { KEPT_HOURS } from '../../platform/idempotency.ts';
import { RANK, runTimeout } from './times.ts';

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
  run_at: 'timestamptz',
  expires_at: 'timestamptz',
} as const;
type Column = keyof typeof PLAIN | keyof typeof SPECIAL;

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
  run_at: null,
  expires_at: null,
} as const satisfies Partial<Record<keyof typeof SPECIAL, unknown>>;
const TELLING = Object.entries(DEFAULTS) as [Column, unknown][];

/** Whether a task may be begun as it comes and asks for nothing out of the ordinary. */
export const isPlain = (task: Record<Column, unknown>): boolean =>
  TELLING.every(([name, usual]) =>
    Array.isArray(usual) ? (task[name] as unknown[]).length === 0 : task[name] === usual,
  );

/** How tasks are inserted: all of them plain, and as a batch. */
export interface Form {
  plain: boolean;
  batched: boolean;
}

const typesOf = ({ plain }: Form): Partial<Record<Column, string>> => (plain ? PLAIN : { ...PLAIN, ...SPECIAL });

/** The columns a form takes an array of each, in the order of its parameters. */
export const columnsOf = (form: Form) => Object.keys(typesOf(form)) as Column[];

/** The tasks as they came: the tail of a FROM. */
const given = (form: Form, as = (name: Column): string => name): string => {
  const arrays = Object.values(typesOf(form)).map((type, n) => `$${n + 1}::text::${type}[]`);
  return `unnest(${arrays.join(', ')}) with ordinality as u(${columnsOf(form).map(as).join(', ')}, ord)`;
};

/** A row is taken apart up to the last column that is wanted, in each part anew: what many look at stands first. */
const FIRST = `agent_id, boot_id, ord, task_id, class_id, ${RANK} as rank, run_at, now`;
const REST = columnsOf({ plain: true, batched: false }).slice(4).join(', ');

/** Plain tasks: all of them are made, and due. */
const ROWS_PLAIN = (form: Form) => `
y as materialized (select ${FIRST}, ${REST}, true as due from clock cross join lateral (select now as run_at) at_once, ${given(form)})`;

/** The request that makes a batch, and the batch: rows of their own before those of its tasks. Parameters follow the columns. */
const batchParameters = (form: Form) => {
  const after = columnsOf(form).length + 1;
  const [id, owner, atomic, size, others, key, hash, indexes, needed] = Array.from(
    { length: 9 },
    (_, n) => `$${after + n}`,
  );
  return { id, owner, atomic, size, others, key, hash, indexes, needed };
};
const BATCH = (form: Form) => {
  const { id, owner, atomic, size, others, key, hash } = batchParameters(form);
  return `
remembered as (
  insert into idempotency_keys (owner, idempotency_key, request_hash, batch_id, expires_at)
  select ${owner}::text, ${key}, ${hash}, ${id}::text, now + interval '${KEPT_HOURS} hours' from clock where ${key}::text is not null returning task_id
),
batch as (
  insert into batches (batch_id, owner, atomic, size, others, created_at)
  select ${id}, ${owner}, ${atomic}::boolean, ${size}::int, ${others}::text::jsonb, now from clock
)`;
};
const REMEMBERED = `
remembered as (
  insert into idempotency_keys (owner, idempotency_key, request_hash, task_id, expires_at)
  select owner, idempotency_key, request_hash, task_id, now + interval '${KEPT_HOURS} hours' from x, clock where idempotency_key is not null order by 1, 2
  on conflict do nothing returning task_id
)`;

/** All others: what was there before, or has a key that is taken, is not made. */
const ROWS = (form: Form) => `
x as materialized (
  select u.*, coalesce(given_run_at, now) as run_at from clock, ${given(form, (name) => (name === 'run_at' ? 'given_run_at' : name))}
),
${form.batched ? '' : `${REMEMBERED},`}
reserved as (
  insert into unique_keys (owner, unique_key, task_id)
  select owner, unique_key, task_id from x
  -- All requests before all unique keys, in every batch: two that meet in both never wait for each other.
  where unique_key is not null and (select count(*) from remembered) >= 0 and (idempotency_key is null or task_id in (select task_id from remembered)) order by 1, 2
  ${form.batched ? '' : 'on conflict do nothing'} returning task_id
),
y as materialized (
  select run_at <= now and depends_on = '{}' and concurrency_key is null as due, depends_on <> '{}' as bound, ${FIRST}, concurrency_key, expires_at,
    task_timeout_seconds, ${REST}, unique_key, retry_base_ms, retry_cap_ms, retry_jitter, non_retryable, depends_on, on_dependency_failure, schedule_id
  from x, clock
  where (idempotency_key is null or task_id in (select task_id from remembered)) and (unique_key is null or task_id in (select task_id from reserved))
)`;

const INSERTED = (form: Form) => {
  const { id, indexes, needed } = batchParameters(form);
  const special = form.plain
    ? ''
    : ', retry_base_ms, retry_cap_ms, retry_jitter, task_timeout_seconds, unique_key, concurrency_key, schedule_id, expires_at';
  return `
inserted as (
  insert into tasks (task_id, class_id, owner, client_id, task_type, capability_required, input_data, priority, rank, timeout_seconds,
    max_retries, retry_policy, tags, metadata, traceparent, run_at, created_at${special}
    ${form.plain ? '' : ', non_retryable, depends_on, on_dependency_failure'}${form.batched ? ', batch_id, batch_index, has_dependents' : ''})
  select task_id, class_id, owner, client_id, task_type, capability_required, input_data::json, priority, rank, timeout_seconds,
    max_retries, retry_policy, tags::text[], metadata::jsonb, traceparent, run_at, now${special}
    ${form.plain ? '' : `, non_retryable::text[], nullif(depends_on::text[], '{}'), case when bound then on_dependency_failure end`}
    ${form.batched ? `, ${id}, (${indexes}::int[])[ord], task_id = any(${needed}::text[])` : ''} from y
)`;
};

/** Those that are due: handed off, or to `ready`. */
const DUE = ({ plain }: Form) => `
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
  select fence, task_id, 0, agent_id, class_id, capability_required, 1, 0, now, ${plain ? 'timeout_seconds' : runTimeout('now')} from handed
),
slots as (
  update agents set slots_used = slots_used + g.n from (select agent_id, count(*) as n from handed group by 1) g
  where agents.agent_id = any(array(select agent_id from willing)) and agents.agent_id = g.agent_id
),
queued as (
  insert into ready (class_id, rank, task_id, replica, attempt, failures)
  select class_id, rank, task_id, 0, 0, 0 from y where due and (agent_id is null or (ord in (select ord from handed)) is not true)
)`;

/** Those that wait: for their time, for room at their key, for others. And what watches over the time of any. */
const WAITING = `
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
)`;

/**
 * Inserts tasks. One that fits a parked poll is leased in this very statement, if the agent still has a slot, is open and
 * beats; the rest go to `ready`, to `delayed` until their time, or to `blocked` until what they need has ended. A request that was made before,
 * and a task whose unique key is taken, makes none; one with a concurrency key waits in `gated` until there is room. Agents are locked in id order, as everywhere.
 * Of a batch either all are made or, when its request or a unique key is there already, the statement fails.
 * A plain form leaves out what plain tasks do not need: what is not there takes a third of the time of a single submit.
 */
export const insertText = (form: Form): string => `
with ${[
  'clock as materialized (select muster_now() as now)',
  ...(form.batched ? [BATCH(form)] : []),
  form.plain ? ROWS_PLAIN(form) : ROWS(form),
  INSERTED(form),
  DUE(form),
  ...(form.plain ? [] : [WAITING]),
  // Parts nobody reads are run from the last to the first: created is told before assigned.
  `assigned as (${runEvent('run.assigned', 'handed')})`,
  `created as (${taskEvent('task.created', 'y')})`,
].join(',\n')}
select c.now, h.ord::int as ord, h.fence from clock c left join (
  select ord, fence from handed
  ${form.plain ? '' : 'union all select ord, null from x where (idempotency_key is not null or unique_key is not null) and (ord in (select ord from y)) is not true'}
) h on true`;
