import { runEvent, taskEvent } from '../../events/record.ts';
import { KEPT_HOURS } from '../../platform/idempotency.ts';
import { type Column, columnsOf, type Form, isShared, LONE, typesOf } from './columns.ts';
import { insertedTasks, parts, queuedTasks, WAITING } from './placing.ts';
import { RANK, runTimeout } from './times.ts';

/** The parameters of a form, by column: one value where all share it, else an array. */
const parametersOf = (form: Form) =>
  (Object.entries(typesOf(form)) as [Column, string][]).map(([name, type], n) => ({
    name,
    shared: isShared(form, name),
    value: `$${n + 1}::text::${type}`,
  }));

/** The tasks as they came: the tail of a FROM. */
const given = (form: Form, as = (name: Column): string => name): string => {
  const own = parametersOf(form).filter(({ shared }) => !shared);
  const arrays = own.map(({ value }) => `${value}[]`).join(', ');
  return `unnest(${arrays}) with ordinality as u(${own.map(({ name }) => as(name)).join(', ')}, ord)`;
};

/** A row is taken apart up to the last column that is wanted, in each part anew: what many look at stands first. */
const FIRST = `agent_id, boot_id, ord, task_id, class_id, ${RANK} as rank, run_at, now`;
const REST = columnsOf({ plain: true, alike: false, batched: false }).slice(4).join(', ');

/** Plain tasks: all of them are made, and due. */
const ROWS_PLAIN = (form: Form) => `
y as materialized (select ${FIRST}, ${REST}, true as due from clock cross join lateral (select now as run_at) at_once, ${given(form)})`;

/** Where all are alike, what they share is read once, and written once into each row that is made. */
const READ_ONCE: Partial<Record<Column, string>> = { tags: '::text[]', metadata: '::jsonb' };
const ROWS_ALIKE = (form: Form) => {
  const shared = parametersOf(form).filter(({ shared }) => shared);
  const values = shared.map(({ name, value }) => `${value}${READ_ONCE[name] ?? ''} as ${name}`);
  return `
same as materialized (
  select *, ${RANK} as rank, true as due from (select now, now as run_at, ${values.join(', ')} from clock) given
),
y as materialized (select * from ${given(form)})`;
};

/** Tasks with all their columns: the tail of a FROM. */
const wholeOf = ({ alike }: Form): string => (alike ? 'y, same' : 'y');

/** The request that makes a batch, and the batch: rows of their own before those of its tasks. Parameters follow the columns. */
const batchParameters = (form: Form) => {
  const after = columnsOf(form).length + 1;
  const [id, owner, atomic, size, others, first, last, key, hash, indexes, needed] = Array.from(
    { length: 11 },
    (_, n) => `$${after + n}`,
  );
  return { id, owner, atomic, size, others, first, last, key, hash, indexes, needed };
};
const BATCH = (form: Form) => {
  const { id, owner, atomic, size, others, first, last, key, hash } = batchParameters(form);
  return `
remembered as (
  insert into idempotency_keys (owner, idempotency_key, request_hash, batch_id, expires_at)
  select ${owner}::text, ${key}, ${hash}, ${id}::text, now + interval '${KEPT_HOURS} hours' from clock where ${key}::text is not null returning task_id
),
batch as (
  insert into batches (batch_id, owner, atomic, size, others, first_task_id, last_task_id, created_at)
  select ${id}, ${owner}, ${atomic}::boolean, ${size}::int, ${others}::text::jsonb, ${first}, ${last}, now from clock
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
    task_timeout_seconds, ${REST}, unique_key, retry_base_ms, retry_cap_ms, retry_jitter, non_retryable, depends_on, on_dependency_failure, schedule_id, verification
  from x, clock
  where (idempotency_key is null or task_id in (select task_id from remembered)) and (unique_key is null or task_id in (select task_id from reserved))
)`;

const rowsOf = (form: Form) => (form.alike ? ROWS_ALIKE(form) : form.plain ? ROWS_PLAIN(form) : ROWS(form));

const INSERTED = (form: Form) => {
  const { id, indexes, needed } = batchParameters(form);
  const more: [string, string] = form.batched
    ? [', batch_id, batch_index, has_dependents', `, ${id}, (${indexes}::int[])[ord], task_id = any(${needed}::text[])`]
    : ['', ''];
  return insertedTasks({ plain: form.plain, from: wholeOf(form), more });
};

/** Those that are due: handed off, or to `ready`. */
const DUE = (form: Form) => `
willing as materialized (
  select a.agent_id, g.boot_id, least(g.want, a.slots - a.slots_used) as n
  from (select agent_id, boot_id, count(*) as want from ${wholeOf(form)} where agent_id is not null and due group by 1, 2 order by 1) g
  cross join lateral (select agent_id, slots, slots_used from agents
    where agents.agent_id = g.agent_id and agents.boot_id = g.boot_id and left_at is null and mode = 'OPEN' for no key update) a
  cross join lateral (select 1 from presence p where p.agent_id = g.agent_id and p.lease_expires_at > (select now from clock) offset 0) p
),
handed as materialized (
  select z.*, nextval('fence_seq') as fence
  from (select *, row_number() over (partition by agent_id, boot_id order by ord) as k from ${wholeOf(form)} where agent_id is not null and due) z
  join willing w on w.agent_id = z.agent_id and w.boot_id = z.boot_id where z.k <= w.n
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds, lone)
  select fence, task_id, 0, agent_id, class_id, capability_required, 1, 0, now, ${form.plain ? 'timeout_seconds, true' : `${runTimeout('now')}, ${LONE}`} from handed
),
slots as (
  update agents set slots_used = slots_used + g.n from (select agent_id, count(*) as n from handed group by 1) g
  where agents.agent_id = any(array(select agent_id from willing)) and agents.agent_id = g.agent_id
),
queued as (${queuedTasks('due and (agent_id is null or (ord in (select ord from handed)) is not true)', wholeOf(form))})`;

/**
 * Inserts tasks. One that fits a parked poll is leased in this very statement, if the agent still has a slot, is open and
 * beats; the rest go to `ready`, to `delayed` until their time, or to `blocked` until what they need has ended. A request that was made before,
 * and a task whose unique key is taken, makes none; one with a concurrency key waits in `gated` until there is room. Agents are locked in id order, as everywhere.
 * Of a batch either all are made or, when its request or a unique key is there already, the statement fails.
 * A plain form leaves out what plain tasks do not need: what is not there takes a third of the time of a single submit. One of tasks that are alike
 * takes a quarter less of Postgres for each of them.
 */
export const insertText = (form: Form): string => `
with ${[
  'clock as materialized (select muster_now() as now)',
  ...(form.batched ? [BATCH(form)] : []),
  rowsOf(form),
  `inserted as (${INSERTED(form)})`,
  DUE(form),
  ...(form.plain ? [] : [parts(WAITING)]),
  // Parts nobody reads are run from the last to the first: created is told before assigned.
  `assigned as (${runEvent('run.assigned', 'handed')})`,
  `created as (${taskEvent('task.created', 'y')})`,
].join(',\n')}
select c.now, h.ord::int as ord, h.fence from clock c left join (
  select ord, fence from handed
  ${form.plain ? '' : 'union all select ord, null from x where (idempotency_key is not null or unique_key is not null) and (ord in (select ord from y)) is not true'}
) h on true`;

const ONE: Form = { plain: true, alike: false, batched: false };

/**
 * Inserts one plain task by itself, as most are: the same with a parameter for each column and the fewest parts, which are what a single submit costs.
 * The agent's row is locked by the very change of its slots, which is guarded by all that has to hold.
 */
export const INSERT_ONE = `
with clock as materialized (select muster_now() as now),
y as materialized (
  select *, ${RANK} as rank from (
    select now, now as run_at, ${parametersOf(ONE)
      .map(({ name, value }) => `${value} as ${name}`)
      .join(', ')} from clock
  ) given
),
inserted as (${insertedTasks({ plain: true })}),
willing as (
  update agents set slots_used = slots_used + 1
  where agent_id = $1 and boot_id = $2 and left_at is null and mode = 'OPEN' and slots_used < slots
    and (select lease_expires_at from presence where presence.agent_id = $1) > (select now from clock)
  returning agent_id
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds, lone)
  select nextval('fence_seq'), task_id, 0, w.agent_id, class_id, capability_required, 1, 0, now, timeout_seconds, true from y, willing w
  returning fence
),
queued as (${queuedTasks('not exists (select from willing)')}),
assigned as (
  insert into events (tx, at, kind, fences) select pg_current_xact_id(), (select now from clock), 'run.assigned', array[fence] from leased
),
created as (
  insert into events (tx, at, kind, subject_ids) select pg_current_xact_id(), now, 'task.created', array[task_id] from y
)
select y.now, case when fence is not null then 1 end as ord, fence from y left join leased on true`;
