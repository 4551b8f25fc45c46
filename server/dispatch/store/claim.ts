import { runEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { runTimeout } from '../../tasks/store/times.ts';
import { type HeadsOf, headsOf, type Lane } from './heads.ts';
import { type ClaimedRun, checkpointOf, RUN } from './held-runs.ts';

/** An agent that asks for work. */
export interface Claimant {
  agent_id: string;
  boot_id: string;
  want: number;
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

/**
 * Claims the best tasks of some classes for the agents of a batch, shared out in turns. SKIP LOCKED lets any number of
 * coordinators claim at once. Agents are locked first, by id: the slots they have left are counted on the locked row.
 * Parameters are zipped by unnest and array_agg; a subscript per row would parse the whole array each time.
 */
const claiming = ({ parts, order, cost, missed, also }: HeadsOf): string => `
with recursive clock as materialized (select muster_now() as now),
x as materialized (
  select * from unnest($1::text::text[], $2::text::text[], $3::text::int[]) with ordinality as x(agent_id, boot_id, want, ord)
),
asking as materialized (
  select a.agent_id, a.slots_used, a.mode, a.boot_id = x.boot_id and a.left_at is null as current, p.lease_expires_at, x.ord, a.slots - a.slots_used as free,
    case when a.mode = 'OPEN' and a.boot_id = x.boot_id and a.left_at is null and p.lease_expires_at > (select now from clock)
      then greatest(0, least(x.want, a.slots - a.slots_used)) else 0 end as n
  from (select * from x order by agent_id) x
  cross join lateral (select agent_id, slots, slots_used, mode, boot_id, left_at from agents where agents.agent_id = x.agent_id for no key update) a
  cross join lateral (select lease_expires_at from presence where presence.agent_id = x.agent_id offset 0) p
),
turns as materialized (select array_agg(agent_id order by i, ord) as ids, count(*) as n from asking, generate_series(1, asking.n) as i),
${parts},
taken as (delete from ready where ctid = any(array(select place from heads))),
queue as (
  select array_agg(task_id order by ${order}) as tasks, array_agg(replica order by ${order}) as replicas,
    array_agg(class_id order by ${order}) as classes, array_agg(attempt order by ${order}) as attempts,
    array_agg(failures order by ${order}) as failures
  from heads
),
claimed as materialized (
  select nextval('fence_seq') as fence, z.agent_id, z.replica, z.class_id, z.attempt + 1 as attempt, z.failures, ${cost} as slot_cost, t.*
  from unnest((select tasks from queue), (select replicas from queue), (select classes from queue), (select attempts from queue),
    (select failures from queue), (select ids from turns)) as z(task_id, replica, class_id, attempt, failures, agent_id)
  cross join lateral (
    select ${RUN}, ${runTimeout('(select now from clock)')} as timeout_seconds from tasks where tasks.task_id = z.task_id offset 0
  ) t
  where z.task_id is not null
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds, slot_cost)
  select fence, task_id, replica, agent_id, class_id, capability_required, attempt, failures, (select now from clock), timeout_seconds, slot_cost from claimed
),
slots as (
  update agents set slots_used = agents.slots_used + g.n from (select agent_id, sum(slot_cost) as n from claimed group by 1) g
  where agents.agent_id = any(array(select distinct agent_id from claimed)) and agents.agent_id = g.agent_id
),
${also}
assigned as (${runEvent('run.assigned', 'claimed')})
select a.agent_id, a.slots_used, a.mode, a.current, a.lease_expires_at, a.n > 0 as able, ${missed} as missed,
  c.fence, c.class_id, c.task_id, c.task_type, c.capability_required, c.input_data, c.attempt, c.timeout_seconds, c.slot_cost, c.traceparent, k.checkpoint
from asking a left join claimed c on c.agent_id = a.agent_id ${checkpointOf('c')} order by c.fence`;

const CLAIMS = Object.fromEntries(Object.entries(headsOf).map(([form, heads]) => [form, claiming(heads)]));

interface ClaimRow extends Omit<ClaimedRun, 'fence'>, Omit<Standing, 'runs'> {
  agent_id: string;
  missed: boolean;
  fence: string | null;
  class_id: string | null;
}

export interface Claimed {
  /** By agent: how it stands, and the runs it was given. An agent that is not here does not exist. */
  standings: Map<string, Standing>;
  /** How many tasks of each class were handed out. */
  taken: Map<number, number>;
  /** Others had some of the tasks in hand, and there may be more behind them. */
  missed: boolean;
}

/** Which statement claims of these classes: the more is asked of the order, the more it does. */
function formOf(lanes: readonly Lane[]): keyof typeof headsOf {
  if (lanes.some((lane) => lane.slot_cost > 1)) return 'costly';
  if (lanes.some((lane) => lane.limited)) return 'limited';
  return lanes.length > 1 ? 'merged' : 'single';
}

/** Claims for agents. Where some tasks take several slots, for one agent at a time. */
export async function claimTasks(hot: Sql, claimants: readonly Claimant[], lanes: readonly Lane[]): Promise<Claimed> {
  const form = formOf(lanes);
  const rows = await hot.unsafe<ClaimRow[]>(
    CLAIMS[form]!,
    [
      arrayLiteral(claimants.map((it) => it.agent_id)),
      arrayLiteral(claimants.map((it) => it.boot_id)),
      arrayLiteral(claimants.map((it) => it.want)),
      ...headsOf[form].columns.map((name) => arrayLiteral(lanes.map((lane) => lane[name]))),
    ],
    { prepare: true },
  );
  const claimed: Claimed = { standings: new Map(), taken: new Map(), missed: false };
  for (const { agent_id, slots_used, mode, current, lease_expires_at, able, missed, fence, class_id, ...run } of rows) {
    const standing = claimed.standings.get(agent_id) ?? { slots_used, mode, current, lease_expires_at, able, runs: [] };
    claimed.standings.set(agent_id, standing);
    claimed.missed = missed;
    if (fence === null) continue;
    standing.runs.push({ ...run, fence: Number(fence) });
    claimed.taken.set(Number(class_id), (claimed.taken.get(Number(class_id)) ?? 0) + 1);
  }
  return claimed;
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
