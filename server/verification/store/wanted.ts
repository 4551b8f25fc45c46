import type { Claimant } from '../../dispatch/store/claim.ts';
import { CONCERNS, counting, type Lane, LIMITED, lanes, ROOMS } from '../../dispatch/store/heads.ts';
import { type ClaimedRun, runOf, TOLD } from '../../dispatch/store/held-runs.ts';
import { runEvent } from '../../events/record.ts';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { runTimeout } from '../../tasks/store/times.ts';
import { NAME, NAMES } from '../parties.ts';

/** How long a run may take: a checker as long as its comparator says. */
const TIMEOUT = `case when f.compares is null then timeout_seconds else (verification #>> '{comparator,timeout_seconds}')::int end`;

/** How many runs that are wanted of a class one look goes through. */
const AT_ONCE = 500;

/** What is wanted of a class `o`, from where a look begins on. */
const WINDOW = `replicas r where r.class_id = o.class_id and r.fence is null and (r.rank, r.task_id) >= (o.from_rank, o.from_task) order by r.rank, r.task_id`;

/**
 * Gives an agent runs that are wanted: of tasks nobody it has to be apart from has had, for which it is trusted enough, and that fit its free slots.
 * Who has had a run is kept in the row of the verification, which the statement changes where that still allows it: so two that must be apart never
 * both get one, wherever they ask in the same moment. The agent is locked first, as everywhere. `limited`: one run at most, as far as there is room;
 * a canary is none of its owner's runs. Of each class so many are looked through: where none of them is for the agent, its next look goes on from there.
 * The whole time of a task that has ended says nothing of how long another look at it may take.
 */
const claiming = (limited: boolean): string => `
with clock as materialized (select muster_now() as now),
asking as materialized (
  select a.*, a.slots - a.slots_used as free, ${NAMES('a')} as names, greatest(0, least(${limited ? 'least(1, $3::int)' : '$3::int'}, a.slots - a.slots_used)) as n
  from (select * from agents where agent_id = $1 and boot_id = $2 and left_at is null and mode = 'OPEN' for no key update) a
  cross join lateral (select 1 from presence p where p.agent_id = a.agent_id and p.lease_expires_at > (select now from clock) offset 0) alive
),
turns as materialized (select coalesce((select n from asking), 0) as n),
${lanes([...LIMITED, 'from_rank', 'from_task'])},
${limited ? ROOMS : 'open as materialized (select * from lanes where (select n from turns) > 0)'},
picked as materialized (
  select w.*, o.slot_cost from asking a, open o cross join lateral (
    select q.task_id, q.replica, q.class_id, q.rank, q.alias, q.compares, v.ended from (select * from ${WINDOW} limit ${AT_ONCE}) q
    cross join lateral (select verification from tasks where tasks.task_id = q.task_id and closed_status is null offset 0) t
    cross join lateral (
      select parties, apart, label_value, state in ('ACCEPTED', 'AGREED', 'REVIEWING') as ended from verifications v where v.task_id = q.task_id offset 0) v
    where not (q.kind = 'canary' and a.anchor) and (not q.trusted or a.anchor or (
        select standing from integrity i where i.agent_id = a.agent_id and i.capability = o.capability) = 'TRUSTED')
      and not ${NAME('a', 'v.apart')} = any(v.parties)
      and (q.kind = 'checker' or t.verification ->> 'label' is null or a.labels ->> (t.verification ->> 'label') is not distinct from v.label_value)
    order by q.rank, q.task_id limit (select 4 * n from turns)
  ) w
  order by w.rank, w.task_id, w.replica limit (select 4 * n from turns)
),
left_off as materialized (
  select o.class_id, q.rank, q.task_id from open o cross join lateral (select rank, task_id from ${WINDOW} offset ${AT_ONCE - 1} limit 1) q
  where (select count(*) from picked) = 0
),
locked as materialized (
  select p.* from picked p cross join lateral (
    select 1 from replicas r where r.task_id = p.task_id and r.replica = p.replica and r.fence is null for update skip locked) l
),
fitting as materialized (
  select * from (
    select *, sum(slot_cost) over (order by rank, task_id) as cost, row_number() over (order by rank, task_id) as nth
    from (select distinct on (task_id) * from locked order by task_id, replica) one
  ) f where nth <= (select n from turns) and cost <= (select free from asking)
),
joined as (
  update verifications v set parties = v.parties || a.names, turn = v.turn + 1 from fitting f, asking a
  where v.task_id = any(array(select task_id from fitting)) and v.task_id = f.task_id and not ${NAME('a', 'v.apart')} = any(v.parties) returning v.task_id
),
claimed as materialized (
  select nextval('fence_seq') as fence, f.replica, f.class_id, f.slot_cost, f.alias, case when f.ended then whole_seconds else left_seconds end as timeout_seconds, t.*
  from (select * from fitting where task_id in (select task_id from joined) order by rank, task_id) f
  cross join lateral (
    select ${runOf('f.compares')}, ${runTimeout('(select now from clock)', TIMEOUT)} as left_seconds, least(${TIMEOUT}, task_timeout_seconds) as whole_seconds
    from tasks where tasks.task_id = f.task_id offset 0) t
),
taken as (update replicas r set fence = c.fence from claimed c
  where r.task_id = any(array(select task_id from claimed)) and r.task_id = c.task_id and r.replica = c.replica),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds, slot_cost)
  select fence, task_id, replica, $1, class_id, capability_required, 1, 0, (select now from clock), timeout_seconds, slot_cost from claimed
),
slots as (
  update agents set slots_used = slots_used + (select sum(slot_cost) from claimed) where agent_id = (select $1 from claimed limit 1)
),
${limited ? counting(`(z.alias is null or r.scope <> 'owner') and ${CONCERNS}`) : ''}
assigned as (${runEvent('run.assigned', 'claimed')})
select fence, null as class_id, null as rank, ${TOLD.task_id} as task_id, task_type, capability_required, input_data, 1 as attempt, timeout_seconds, slot_cost, ${TOLD.traceparent} as traceparent, null as checkpoint
from claimed
union all select null, class_id, rank::text, task_id, null, null, null, null, null, null, null, null from left_off order by fence`;

const CLAIMS = { false: claiming(false), true: claiming(true) };

/** Where looks that found nothing for an agent left off, by class; none where it has seen all. */
export type LeftOff = ReadonlyMap<number, { rank: string; task_id: string }>;

/** Claims what is wanted of these classes for an agent. What ends a check locks it before its replicas, and this after: it may lose to that. */
export async function claimWanted(
  hot: Sql,
  { agent_id, boot_id, want }: Claimant,
  of: readonly Lane[],
  from: LeftOff = new Map(),
): Promise<{ runs: ClaimedRun[]; left: LeftOff }> {
  const values = [
    ...[agent_id, boot_id, want, ...LIMITED.map((name) => arrayLiteral(of.map((lane) => lane[name])))],
    arrayLiteral(of.map(({ class_id }) => from.get(class_id)?.rank ?? '-infinity')),
    arrayLiteral(of.map(({ class_id }) => from.get(class_id)?.task_id ?? '')),
  ];
  const rows = await retried(() =>
    hot.unsafe<WantedRow[]>(CLAIMS[`${of.some(({ limited }) => limited)}`], values, { prepare: true }),
  );
  const runs = rows.flatMap((row) => (row.fence === null ? [] : [{ ...row, fence: Number(row.fence) }]));
  const left = rows.flatMap((row) => (row.fence === null ? [[Number(row.class_id), row] as const] : []));
  return { runs, left: new Map(left) };
}

/** A run, or where a look left off. */
type WantedRow =
  | (Omit<ClaimedRun, 'fence'> & { fence: string })
  | { fence: null; class_id: string; rank: string; task_id: string };

/** The classes runs are wanted of. */
export async function findWantedClasses(hot: Sql): Promise<number[]> {
  const rows = await hot<{ class_id: string }[]>`
    with recursive walk as (
      (select class_id from replicas where fence is null order by class_id limit 1)
      union all
      select n.class_id from walk w cross join lateral (
        select class_id from replicas where fence is null and class_id > w.class_id order by class_id limit 1) n
    ) select class_id from walk`;
  return rows.map((row) => Number(row.class_id));
}
