import { runEvent, taskEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { KEPT_HOURS } from '../../platform/idempotency.ts';
import { placing } from './placing.ts';

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

const parts = (named: Record<string, string>) =>
  Object.entries(named)
    .map(([name, part]) => `${name} as (${part})`)
    .join(',\n');

/**
 * Inserts tasks. One that fits a parked poll is leased in this very statement, if the agent still has a slot, is open and
 * beats; the rest go to `ready`, to `delayed` until their time, or to `blocked` until what they need has ended. A request that was made before,
 * and a task whose unique key is taken, makes none; one with a concurrency key waits in `gated` until there is room. Agents are locked in id order, as everywhere.
 */
const INSERT = `
with clock as materialized (select muster_now() as now),
x as materialized (
  select u.*, coalesce(given_run_at, now) as run_at from clock, unnest(${COLUMNS.map((name, n) => `$${n + 1}::text::${TYPES[name] ?? 'text'}[]`).join(', ')})
  with ordinality as u(${COLUMNS.join(', ').replace('run_at', 'given_run_at')}, ord)
),
remembered as (
  insert into idempotency_keys (owner, idempotency_key, request_hash, task_id, expires_at)
  select owner, idempotency_key, request_hash, task_id, now + interval '${KEPT_HOURS} hours' from x, clock where idempotency_key is not null order by 1, 2
  on conflict do nothing returning task_id
),
reserved as (
  insert into unique_keys (owner, unique_key, task_id)
  select owner, unique_key, task_id from x
  -- All requests before all unique keys, in every batch: two that meet in both never wait for each other.
  where unique_key is not null and (select count(*) from remembered) >= 0 and (idempotency_key is null or task_id in (select task_id from remembered)) order by 1, 2
  on conflict do nothing returning task_id
),
y as materialized (
  select x.*, false as has_dependents, now, ${RANK} as rank, run_at <= now and depends_on = '{}' and concurrency_key is null as due, depends_on <> '{}' as bound from x, clock
  where (idempotency_key is null or task_id in (select task_id from remembered)) and (unique_key is null or task_id in (select task_id from reserved))
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
${parts(placing('due and (ord in (select ord from handed)) is not true'))},
-- Parts nobody reads are run from the last to the first: created is told before assigned.
assigned as (${runEvent('run.assigned', 'handed')}),
created as (${taskEvent('task.created', 'y')})
select c.now, h.ord::int as ord, h.fence from clock c left join (
  select ord, fence from handed
  union all select ord, null from x where (idempotency_key is not null or unique_key is not null) and (ord in (select ord from y)) is not true
) h on true`;

export async function insertTasks(hot: Sql, tasks: readonly NewTask[]): Promise<Inserted> {
  const columns = COLUMNS.map((name) =>
    arrayLiteral(
      tasks.map((task) => {
        const value = task[name];
        return Array.isArray(value) ? arrayLiteral(value as string[]) : (value as string | number | boolean | null);
      }),
    ),
  );
  const rows = await hot.unsafe<{ now: Date; ord: number | null; fence: string | null }[]>(INSERT, columns, {
    prepare: true,
  });
  const fences = new Map(rows.filter((row) => row.fence !== null).map((row) => [row.ord! - 1, Number(row.fence)]));
  const refused = rows.filter((row) => row.ord !== null && row.fence === null).map((row) => row.ord! - 1);
  return { now: rows[0]!.now, fences, refused: new Set(refused) };
}
