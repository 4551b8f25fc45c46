import { runEvent, taskEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';

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
  tags: readonly string[];
  metadata: string;
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
}

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
  'tags',
  'metadata',
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
  run_at: 'timestamptz',
  expires_at: 'timestamptz',
};

/**
 * Inserts tasks. One that fits a parked poll is leased in this very statement, if the agent still has a slot, is open and
 * beats; the rest go to `ready`, or to `delayed` until their time. Agents are locked in id order, as everywhere.
 */
const INSERT = `
with clock as materialized (select muster_now() as now),
x as materialized (
  select u.*, coalesce(given_run_at, now) as run_at from clock, unnest(${COLUMNS.map((name, n) => `$${n + 1}::text::${TYPES[name] ?? 'text'}[]`).join(', ')})
  with ordinality as u(${COLUMNS.join(', ').replace('run_at', 'given_run_at')}, ord)
),
y as materialized (select *, ${RANK} as rank, run_at <= now as due from x, clock),
inserted as (
  insert into tasks (task_id, class_id, owner, client_id, task_type, capability_required, input_data, priority, rank, timeout_seconds,
    max_retries, retry_policy, tags, metadata, schedule_id, traceparent, run_at, expires_at, created_at)
  select task_id, class_id, owner, client_id, task_type, capability_required, input_data::json, priority, rank, timeout_seconds,
    max_retries, retry_policy, tags::text[], metadata::jsonb, schedule_id, traceparent, run_at, expires_at, now from y
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
  select fence, task_id, 0, agent_id, class_id, capability_required, 1, 0, now, timeout_seconds from handed
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
  select run_at, task_id, 0, class_id, rank, 0, 0 from y where not due
),
limited as (insert into expiring (expires_at, task_id) select expires_at, task_id from y where expires_at is not null),
-- Parts nobody reads are run from the last to the first: created is told before assigned.
assigned as (${runEvent('run.assigned', 'handed')}),
created as (${taskEvent('task.created', 'y')})
select c.now, h.ord::int as ord, h.fence from clock c left join handed h on true`;

export async function insertTasks(hot: Sql, tasks: readonly NewTask[]): Promise<Inserted> {
  const columns = COLUMNS.map((name) =>
    arrayLiteral(
      tasks.map((task) => (name === 'tags' ? arrayLiteral(task.tags) : (task[name] as string | number | null))),
    ),
  );
  const rows = await hot.unsafe<{ now: Date; ord: number | null; fence: string | null }[]>(INSERT, columns, {
    prepare: true,
  });
  const fences = new Map(rows.filter((row) => row.fence !== null).map((row) => [row.ord! - 1, Number(row.fence)]));
  return { now: rows[0]!.now, fences };
}
