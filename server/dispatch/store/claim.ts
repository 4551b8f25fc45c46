import { runEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { LONE } from '../../tasks/store/columns.ts';
import { runTimeout } from '../../tasks/store/times.ts';
import { CLAIM_MANY, CLAIM_ONE } from './claim-one.ts';
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

/** Tasks for several agents, shared out in turns. Arrays are zipped by unnest; a subscript per row would parse the whole array each time. */
const shared = (order: string) => ({
  turns:
    'select array_agg(agent_id order by i, ord) as ids, count(*) as n from asking, generate_series(1, asking.n) as i',
  queue: `
queue as (
  select array_agg(task_id order by ${order}) as tasks, array_agg(replica order by ${order}) as replicas,
    array_agg(class_id order by ${order}) as classes, array_agg(attempt order by ${order}) as attempts,
    array_agg(failures order by ${order}) as failures
  from heads
),`,
  zipped: `
  unnest((select tasks from queue), (select replicas from queue), (select classes from queue), (select attempts from queue),
    (select failures from queue), (select ids from turns)) as z(task_id, replica, class_id, attempt, failures, agent_id)`,
});

/** The same for one, who gets all of them. One that does not exist gets none: a limit of null would be none. */
const sole = (order: string): ReturnType<typeof shared> => ({
  turns: 'select coalesce((select n from asking), 0) as n',
  queue: '',
  zipped: `(select h.*, a.agent_id from heads h, asking a order by ${order}) z`,
});

/**
 * Claims the best tasks of some classes for the agents of a batch. SKIP LOCKED lets any number of coordinators claim at once.
 * Agents are locked first, by id: the slots they have left are counted on the locked row. It answers a row for each agent, and one for each run.
 */
const claiming = (
  { parts, cost, missed, also }: HeadsOf,
  { turns, queue, zipped }: ReturnType<typeof shared>,
): string => `
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
turns as materialized (${turns}),
${parts},
taken as (delete from ready where ctid = any(array(select place from heads))),${queue}
claimed as materialized (
  select nextval('fence_seq') as fence, z.agent_id, z.replica, z.class_id, z.attempt + 1 as attempt, z.failures, ${cost} as slot_cost, t.*
  from ${zipped}
  cross join lateral (
    select ${RUN}, ${LONE} as lone, ${runTimeout('(select now from clock)')} as timeout_seconds from tasks where tasks.task_id = z.task_id offset 0
  ) t
  where z.task_id is not null
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds, slot_cost, lone)
  select fence, task_id, replica, agent_id, class_id, capability_required, attempt, failures, (select now from clock), timeout_seconds, slot_cost, lone from claimed
),
slots as (
  update agents set slots_used = agents.slots_used + g.n from (select agent_id, sum(slot_cost) as n from claimed group by 1) g
  where agents.agent_id = any(array(select distinct agent_id from claimed)) and agents.agent_id = g.agent_id
),
${also}
assigned as (${runEvent('run.assigned', 'claimed')})
select a.agent_id, a.slots_used, a.mode, a.current, a.lease_expires_at, a.n > 0 as able, ${missed} as missed, null::bigint as fence, null::bigint as class_id,
  null as task_id, null as task_type, null as capability_required, null as input_data, null::int as attempt, null::int as timeout_seconds,
  null::smallint as slot_cost, null as traceparent, null as checkpoint
from asking a
union all
select c.agent_id, null, null, null, null, null, null, c.fence, c.class_id, c.task_id, c.task_type, c.capability_required, c.input_data, c.attempt,
  c.timeout_seconds, c.slot_cost, c.traceparent, ${checkpointOf('c')}
from claimed c order by fence nulls first`;

type Form = keyof typeof headsOf;
const FORMS = Object.keys(headsOf) as Form[];
const textsOf = (forms: Form[], way: typeof shared) =>
  Object.fromEntries(forms.map((form) => [form, claiming(headsOf[form], way(headsOf[form].order))]));

const SHARED = textsOf(FORMS, shared);
/** Of a single class one agent claims by `CLAIM_ONE` or `CLAIM_MANY`. */
const SOLE = textsOf(
  FORMS.filter((form) => form !== 'single'),
  sole,
);

/** How an agent stands, or a run of one. */
type ClaimRow = { agent_id: string } & (
  | (Omit<Standing, 'runs'> & { missed: boolean; fence: null })
  | (Omit<ClaimedRun, 'fence'> & { fence: string; class_id: string })
);

export interface Claimed {
  /** By agent: how it stands, and the runs it was given. An agent that is not here does not exist. */
  standings: Map<string, Standing>;
  /** Who was given the tasks that were handed out, by class. */
  taken: Map<number, string[]>;
  /** Others had some of the tasks in hand, and there may be more behind them. */
  missed: boolean;
}

/** Which statement claims of these classes: the more is asked of the order, the more it does. */
function formOf(lanes: readonly Lane[]): Form {
  if (lanes.some((lane) => lane.slot_cost > 1)) return 'costly';
  if (lanes.some((lane) => lane.limited)) return 'limited';
  if (lanes.some((lane) => lane.owner !== lanes[0]!.owner)) return 'fair';
  return lanes.length > 1 ? 'merged' : 'single';
}

/** Claims for agents. Where some tasks take several slots, for one agent at a time. */
export async function claimTasks(hot: Sql, claimants: readonly Claimant[], lanes: readonly Lane[]): Promise<Claimed> {
  const form = formOf(lanes);
  const column = <K extends keyof Claimant>(name: K) => arrayLiteral(claimants.map((it) => it[name]));
  const [first] = claimants;
  const rows = await (first && claimants.length === 1 && form === 'single'
    ? hot.unsafe<ClaimRow[]>(
        first.want > 1 ? CLAIM_MANY : CLAIM_ONE,
        [first.agent_id, first.boot_id, first.want, lanes[0]?.class_id ?? 0],
        { prepare: true },
      )
    : hot.unsafe<ClaimRow[]>(
        (claimants.length === 1 ? SOLE : SHARED)[form]!,
        [
          ...[column('agent_id'), column('boot_id'), column('want')],
          ...headsOf[form].columns.map((name) => arrayLiteral(lanes.map((lane) => lane[name]))),
        ],
        { prepare: true },
      ));
  const claimed: Claimed = { standings: new Map(), taken: new Map(), missed: false };
  for (const row of rows) {
    if (row.fence === null) {
      const { agent_id, slots_used, mode, current, lease_expires_at, able, missed } = row;
      claimed.standings.set(agent_id, { slots_used, mode, current, lease_expires_at, able, runs: [] });
      claimed.missed = missed;
    } else {
      claimed.standings.get(row.agent_id)!.runs.push(runOf(row));
      const classId = Number(row.class_id);
      const takers = claimed.taken.get(classId);
      if (takers) takers.push(row.agent_id);
      else claimed.taken.set(classId, [row.agent_id]);
    }
  }
  return claimed;
}

const runOf = (row: Extract<ClaimRow, { fence: string }>): ClaimedRun => ({
  fence: Number(row.fence),
  task_id: row.task_id,
  task_type: row.task_type,
  capability_required: row.capability_required,
  input_data: row.input_data,
  attempt: row.attempt,
  timeout_seconds: row.timeout_seconds,
  slot_cost: row.slot_cost,
  traceparent: row.traceparent,
  checkpoint: row.checkpoint ?? null,
});

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
