import type { AgentMode, TaskStatus } from '@muster/shared/lifecycle';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { EVERYBODY } from '../../tasks/store/pause.ts';
import { CANDIDATE, type CandidateRow, type CandidateText, candidateOf } from './candidates.ts';
import { aliasOf } from './held-runs.ts';

/** Up to so many ready tasks are looked at one by one; of more, a sample of about this size. */
const SAMPLE = 10_000;

/** A prime that leads through every place of a stride in turn, so that no rhythm of the queue hides from the sample. */
const SPREAD = 7_919;

/** A priority's share of what was looked at: each row stands for those up to the next. */
const BY_PRIORITY = Array.from(
  { length: 10 },
  (_, n) => `'${n + 1}', coalesce(sum(weight) filter (where priority = ${n + 1}), 0)::int`,
).join(', ');

export interface QueueRow {
  /** Null in the row of all together. */
  capability: string | null;
  paused: boolean;
  ready: number;
  delayed: number;
  blocked: number;
  gated: number;
  running: number;
  by_priority: Record<string, number> | null;
  oldest: Date | null;
  /** In milliseconds: p50, p90, p99 and the most. */
  ages: number[] | null;
  estimated: boolean;
}

/**
 * What waits and runs by capability, the longest queue first, and all together. It reads what waits and what runs, never what
 * has ended: `ready` by its index alone, and the tasks of a sample of it, one of every so many in the order of claims.
 */
export async function readQueue(
  sql: Sql,
  { owner, capability, limit }: { owner: string | undefined; capability: string | undefined; limit: number },
): Promise<QueueRow[]> {
  return sql<QueueRow[]>`
    with clock as materialized (select muster_now() as now),
    mine as materialized (
      select class_id, capability, exists (select from pauses p where p.capability = c.capability and p.owner in (c.owner, ${EVERYBODY})) as paused
      from classes c where true ${owner === undefined ? sql`` : sql`and owner = ${owner}`} ${capability ? sql`and capability = ${capability}` : sql``}
    ),
    ready_in as materialized (select class_id, count(*) as n from ready where class_id in (select class_id from mine) group by 1),
    -- What a concurrency key keeps back before it is due is merely delayed.
    delayed_in as (
      select class_id, count(*) as n from (select class_id from delayed union all select class_id from gated where run_at > (select now from clock)) d group by 1
    ),
    gated_in as (select class_id, count(*) as n from gated where run_at <= (select now from clock) group by 1),
    blocked_in as (select class_id, count(*) as n from blocked group by 1),
    running_in as (select class_id, count(*) as n from leases where replica >= 0 group by 1),
    step as materialized (select greatest(1, ceil(sum(n) / ${SAMPLE}::numeric))::int as every from ready_in),
    strides as (
      select class_id, task_id, nth, (nth / every) as stride, least(every, n - nth / every * every) as size, every from (
        select class_id, task_id, row_number() over (partition by class_id order by rank, task_id, replica) - 1 as nth from ready
        where class_id in (select class_id from mine)
      ) q join ready_in using (class_id) cross join step
    ),
    sample as materialized (select class_id, task_id, size as weight from strides where nth - stride * every = stride * ${SPREAD}::bigint % size),
    aged as (
      select m.capability, s.weight, t.priority, t.run_at, greatest(0, extract(epoch from now - t.run_at) * 1000)::float8 as age
      from clock, sample s join mine m using (class_id)
      cross join lateral (select priority, run_at from tasks where tasks.task_id = s.task_id offset 0) t
    ),
    ages as (
      select capability, jsonb_build_object(${sql.unsafe(BY_PRIORITY)}) as by_priority, min(run_at) as oldest,
        percentile_disc(array[0.5, 0.9, 0.99, 1]) within group (order by age) as ages
      from aged group by grouping sets ((capability), ())
    ),
    counts as (
      select capability, coalesce(bool_or(paused), false) as paused, coalesce(sum(r.n), 0)::int as ready, coalesce(sum(d.n), 0)::int as delayed,
        coalesce(sum(b.n), 0)::int as blocked, coalesce(sum(g.n), 0)::int as gated, coalesce(sum(l.n), 0)::int as running
      from mine m left join ready_in r using (class_id) left join delayed_in d using (class_id) left join blocked_in b using (class_id) left join gated_in g using (class_id)
      left join running_in l using (class_id) group by grouping sets ((capability), ())
    )
    select c.*, a.by_priority, a.oldest, a.ages, (select every > 1 from step) as estimated
    from counts c left join ages a on coalesce(a.capability, '') = coalesce(c.capability, '')
    where c.capability is null or c.paused or c.ready + c.delayed + c.blocked + c.gated + c.running > 0
    order by c.capability is not null, c.ready + c.delayed + c.blocked + c.gated + c.running desc, c.capability limit ${limit + 1}`;
}

/** How many tasks of each of these classes are ready. */
export async function countReady(sql: Sql, classIds: readonly number[]): Promise<Map<number, number>> {
  const rows = await sql<{ class_id: string; n: number }[]>`
    select c.class_id, r.n from unnest(${arrayLiteral(classIds)}::text::bigint[]) as c(class_id)
    cross join lateral (select count(*)::int as n from ready where ready.class_id = c.class_id) r`;
  return new Map(rows.map((row) => [Number(row.class_id), row.n]));
}

/** An agent, and what decides whether it could be given something. */
export interface AgentLoad extends CandidateRow {
  mode: AgentMode;
  left: boolean;
  /** Its lease has not ended. */
  alive: boolean;
  slots_used: number;
}

type LoadText = CandidateText & Omit<AgentLoad, keyof CandidateRow>;

const LOAD = `${CANDIDATE}, a.mode, a.left_at is not null as "left", a.slots_used,
  coalesce(p.lease_expires_at > (select now from clock), false) as alive`;

export async function findLoad(sql: Sql, agentId: string): Promise<AgentLoad | undefined> {
  const [row] = await sql<LoadText[]>`
    with clock as materialized (select muster_now() as now)
    select ${sql.unsafe(LOAD)} from clock, agents a left join presence p using (agent_id) where a.agent_id = ${agentId}`;
  return row && candidateOf(row);
}

/** The agents that serve an owner: `first` those, then those that are most likely to be given a task of these requirements. */
export async function listLoads(
  sql: Sql,
  {
    owner,
    capability,
    labels,
    first,
    limit,
  }: { owner: string; capability: string; labels: Record<string, string>; first: readonly string[]; limit: number },
): Promise<AgentLoad[]> {
  const can = sql`exists (select from unnest(a.capabilities) as has where has = ${capability} or starts_with(has, ${`${capability}:`}))`;
  const rows = await sql<LoadText[]>`
    with clock as materialized (select muster_now() as now),
    serving as (
      select ${sql.unsafe(LOAD)}, ${can} and a.labels @> ${sql.json(labels)} as fits
      from clock, agents a left join presence p using (agent_id) where (a.owner = ${owner} or a.serves = 'all') and a.mode <> 'REVOKED'
    )
    select * from serving
    order by agent_id = any(${arrayLiteral(first)}::text::text[]) desc, fits desc, alive and not "left" and mode = 'OPEN' desc, slots > slots_used desc, agent_id desc limit ${limit}`;
  return rows.map((row) => candidateOf(row));
}

export interface LiveRun {
  fence: string;
  task_id: string;
  capability: string;
  attempt: number;
  slot_cost: number;
  assigned_at: Date;
  started_at: Date | null;
  cancel_requested_at: Date | null;
}

export const listLiveRuns = (sql: Sql, agentId: string): Promise<LiveRun[]> => sql<LiveRun[]>`
  select fence, coalesce(${sql.unsafe(aliasOf('l'))}, task_id) as task_id, capability, attempt, slot_cost, assigned_at, started_at, cancel_requested_at
  from leases l where agent_id = ${agentId} order by fence`;

/** Where a task is in this instant. */
export interface Place {
  class_id: number;
  status: TaskStatus;
  /** When it becomes ready, where it is delayed. */
  until: Date | null;
  /** The concurrency key it waits for, where it is due. */
  gate: { concurrency_key: string; held: number; max: number } | null;
  /** Why it is not verified yet, where that takes longer than it may. */
  note: string | null;
  /** For how many tasks it waits, where it is blocked. */
  open: number | null;
  /** Who has it, where it is leased. */
  agent_id: string | null;
  /** How many of its class are claimed before it, where it is ready. */
  ahead: number | null;
}

export async function findPlace(sql: Sql, taskId: string): Promise<Place | undefined> {
  const [row] = await sql<Place[]>`
    with clock as materialized (select muster_now() as now)
    select t.class_id::int, s.status, s.verification_note as note, coalesce(d.run_at, case when g.run_at > now then g.run_at end) as until, b.open, l.agent_id,
      case when g.run_at <= now then (
        select jsonb_build_object('concurrency_key', concurrency_key, 'held', held, 'max', max) from concurrency_limits c
        where c.owner = g.owner and c.concurrency_key = g.concurrency_key) end as gate,
      case when q.task_id is not null then (
        select count(*)::int from ready r where r.class_id = q.class_id and (r.rank, r.task_id) < (q.rank, q.task_id)) end as ahead
    from clock, tasks t cross join lateral (select status, verification_note from task_state where task_state.task_id = t.task_id offset 0) s
    left join ready q on q.class_id = t.class_id and q.rank = t.rank and q.task_id = t.task_id and q.replica = 0
    left join delayed d on d.task_id = t.task_id left join blocked b on b.task_id = t.task_id left join gated g on g.task_id = t.task_id
    left join leases l on l.task_id = t.task_id and l.replica = 0 and l.cancel_requested_at is null
    where t.task_id = ${taskId}`;
  return row;
}
