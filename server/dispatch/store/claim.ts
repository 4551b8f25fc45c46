import { runEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { runTimeout } from '../../tasks/store/times.ts';

/** An agent that asks for work. */
export interface Claimant {
  agent_id: string;
  boot_id: string;
  want: number;
}

/** A run as it is handed out; `input_data` is JSON text. */
export interface ClaimedRun {
  fence: number;
  task_id: string;
  task_type: string;
  capability_required: string;
  input_data: string;
  attempt: number;
  timeout_seconds: number;
  slot_cost: number;
  traceparent: string | null;
  /** JSON text: what an earlier attempt kept. */
  checkpoint?: string | null;
}

/** What an agent is to the coordinator in the moment it asked. `current`: its boot is the newest. */
export interface Standing {
  slots_used: number;
  mode: string;
  current: boolean;
  lease_expires_at: Date | null;
  /** It could be given something in that moment. */
  able: boolean;
  runs: ClaimedRun[];
}

const RUN = `task_id, task_type, capability_required, input_data::text as input_data, traceparent, reset_fence`;

/** What an attempt hands to the next: the last checkpoint of the task's runs since somebody began it anew. A first attempt costs no look. */
const checkpointOf = (run: string): string => `
  left join lateral (
    select (progress -> 'checkpoint')::text as checkpoint from runs
    where ${run}.attempt > 1 and runs.task_id = ${run}.task_id and runs.fence > ${run}.reset_fence and runs.progress ? 'checkpoint' order by fence desc limit 1
  ) k on true`;

/**
 * Claims the best tasks of some classes for the agents of a batch, shared out in turns. SKIP LOCKED lets any number of
 * coordinators claim at once. Agents are locked first, by id: the slots they have left are counted on the locked row.
 * Parameters are zipped by unnest and array_agg; a subscript per row would parse the whole array each time.
 */
const CLAIM = `
with clock as materialized (select muster_now() as now),
x as materialized (
  select * from unnest($1::text::text[], $2::text::text[], $3::text::int[]) with ordinality as x(agent_id, boot_id, want, ord)
),
asking as materialized (
  select a.agent_id, a.slots_used, a.mode, a.boot_id = x.boot_id and a.left_at is null as current, p.lease_expires_at, x.ord,
    case when a.mode = 'OPEN' and a.boot_id = x.boot_id and a.left_at is null and p.lease_expires_at > (select now from clock)
      then greatest(0, least(x.want, a.slots - a.slots_used)) else 0 end as n
  from (select * from x order by agent_id) x
  cross join lateral (select agent_id, slots, slots_used, mode, boot_id, left_at from agents where agents.agent_id = x.agent_id for no key update) a
  cross join lateral (select lease_expires_at from presence where presence.agent_id = x.agent_id offset 0) p
),
turns as materialized (select array_agg(agent_id order by i, ord) as ids, count(*) as n from asking, generate_series(1, asking.n) as i),
heads as materialized (
  select r.* from unnest($4::text::bigint[]) as c(class_id) cross join lateral (
    select ctid as place, rank, task_id, replica from ready where ready.class_id = c.class_id
    order by rank, task_id, replica limit (select n from turns) for update skip locked
  ) r
),
taken as (
  delete from ready where ctid = any(array(select place from heads order by rank, task_id, replica limit (select n from turns)))
  returning class_id, rank, task_id, replica, attempt, failures
),
queue as (
  select array_agg(task_id order by rank, task_id, replica) as tasks, array_agg(replica order by rank, task_id, replica) as replicas,
    array_agg(class_id order by rank, task_id, replica) as classes, array_agg(attempt order by rank, task_id, replica) as attempts,
    array_agg(failures order by rank, task_id, replica) as failures
  from taken
),
claimed as materialized (
  select nextval('fence_seq') as fence, z.agent_id, z.replica, z.class_id, z.attempt + 1 as attempt, z.failures, t.*
  from unnest((select tasks from queue), (select replicas from queue), (select classes from queue), (select attempts from queue),
    (select failures from queue), (select ids from turns)) as z(task_id, replica, class_id, attempt, failures, agent_id)
  cross join lateral (
    select ${RUN}, ${runTimeout('(select now from clock)')} as timeout_seconds from tasks where tasks.task_id = z.task_id offset 0
  ) t
  where z.task_id is not null
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds)
  select fence, task_id, replica, agent_id, class_id, capability_required, attempt, failures, (select now from clock), timeout_seconds from claimed
),
slots as (
  update agents set slots_used = agents.slots_used + g.n from (select agent_id, count(*) as n from claimed group by 1) g
  where agents.agent_id = any(array(select distinct agent_id from claimed)) and agents.agent_id = g.agent_id
),
assigned as (${runEvent('run.assigned', 'claimed')})
select a.agent_id, a.slots_used, a.mode, a.current, a.lease_expires_at, a.n > 0 as able,
  c.fence, c.task_id, c.task_type, c.capability_required, c.input_data, c.attempt, c.timeout_seconds, 1::smallint as slot_cost, c.traceparent, k.checkpoint
from asking a left join claimed c on c.agent_id = a.agent_id ${checkpointOf('c')} order by c.fence`;

interface ClaimRow extends Omit<ClaimedRun, 'fence'>, Omit<Standing, 'runs'> {
  agent_id: string;
  fence: string | null;
}

/** By agent: how it stands, and the runs it was given. An agent that is not in the answer does not exist. */
export async function claimTasks(
  hot: Sql,
  claimants: readonly Claimant[],
  classIds: readonly number[],
): Promise<Map<string, Standing>> {
  const rows = await hot.unsafe<ClaimRow[]>(
    CLAIM,
    [
      arrayLiteral(claimants.map((it) => it.agent_id)),
      arrayLiteral(claimants.map((it) => it.boot_id)),
      arrayLiteral(claimants.map((it) => it.want)),
      arrayLiteral(classIds),
    ],
    { prepare: true },
  );
  const standings = new Map<string, Standing>();
  for (const { agent_id, slots_used, mode, current, lease_expires_at, able, fence, ...run } of rows) {
    const standing = standings.get(agent_id) ?? { slots_used, mode, current, lease_expires_at, able, runs: [] };
    standings.set(agent_id, standing);
    if (fence !== null) standing.runs.push({ ...run, fence: Number(fence) });
  }
  return standings;
}

/** A run an agent is leased, and whether it is to be stopped. */
export interface HeldRun extends ClaimedRun {
  cancel: boolean;
}

/** All that an agent is leased, for a poll that does not name all of it: the reply that told of it was lost. */
export async function listHeldRuns(hot: Sql, agentId: string): Promise<HeldRun[]> {
  const rows = await hot.unsafe<(Omit<HeldRun, 'fence'> & { fence: string })[]>(
    `select h.*, k.checkpoint from (
       select l.fence, l.attempt, l.timeout_seconds, l.slot_cost, l.cancel_requested_at is not null as cancel, t.*
       from leases l cross join lateral (select ${RUN} from tasks where tasks.task_id = l.task_id offset 0) t where l.agent_id = $1
     ) h ${checkpointOf('h')} order by h.fence`,
    [agentId],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, fence: Number(row.fence) }));
}

/** Which of these runs the agent does hold, and which of them are to be stopped. */
export async function findHeldRuns(
  hot: Sql,
  agentId: string,
  fences: readonly number[],
): Promise<{ fence: number; cancel: boolean; slot_cost: number }[]> {
  const rows = await hot.unsafe<{ fence: string; cancel: boolean; slot_cost: number }[]>(
    `select fence, slot_cost, cancel_requested_at is not null as cancel from leases
     where fence = any($1::text::bigint[]) and agent_id = $2 order by fence`,
    [arrayLiteral(fences), agentId],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, fence: Number(row.fence) }));
}

/** Which of these classes have work waiting. */
export async function findReadyClasses(hot: Sql, classIds: readonly number[]): Promise<number[]> {
  const rows = await hot.unsafe<{ class_id: string }[]>(
    `select c.class_id from unnest($1::text::bigint[]) as c(class_id)
     cross join lateral (select 1 from ready where ready.class_id = c.class_id limit 1) r`,
    [arrayLiteral(classIds)],
    { prepare: true },
  );
  return rows.map((row) => Number(row.class_id));
}
