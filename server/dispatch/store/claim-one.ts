import { LONE } from '../../tasks/store/columns.ts';
import { runTimeout } from '../../tasks/store/times.ts';
import { checkpointOf, RUN } from './held-runs.ts';

const TASK = `${RUN}, ${LONE} as lone, ${runTimeout('(select now from clock)')} as timeout_seconds`;

/** How those that were taken find their tasks, best first: one by itself, many page by page, which takes a sixth off a claim of 500 and would make a single one dearer. */
const FOUND = {
  one: `
  select replica, class_id, attempt, failures, t.* from (select * from taken order by rank, id, replica) k
  cross join lateral (select ${TASK} from tasks where task_id = k.id offset 0) t`,
  many: `
  select replica, class_id, attempt, failures, t.* from taken k
  join (select ${TASK} from tasks where task_id = any(array(select id from taken))) t on t.task_id = k.id order by rank, id, replica`,
};

/**
 * The claim of one agent of one class, whose tasks take a slot each: nearly every claim is of this form, and as one of a single
 * task costs as much as it has parts, it is written out with the fewest. It locks what the others lock, in their order.
 * `$1` agent, `$2` boot, `$3` how many, `$4` class; what it answers is what the others do. The rows of runs stand in the order of their fences, as they
 * were numbered: to sort them once more would cost a thirtieth.
 */
const claiming = (found: string): string => `
with clock as materialized (select muster_now() as now),
asking as materialized (
  select a.*, p.lease_expires_at, case when mode = 'OPEN' and current and p.lease_expires_at > (select now from clock) then greatest(0, least($3::int, free)) else 0 end as n
  from (
    select agent_id, slots_used, mode, boot_id = $2 and left_at is null as current, slots - slots_used as free from agents where agent_id = $1 for no key update
  ) a, (select lease_expires_at from presence where presence.agent_id = $1 offset 0) p
),
taken as (
  delete from ready where ctid = any(array(
    select ctid from ready where class_id = $4::bigint order by rank, task_id, replica limit coalesce((select n from asking), 0) for update skip locked
  )) returning class_id, rank, task_id as id, replica, attempt + 1 as attempt, failures
),
claimed as materialized (
  select nextval('fence_seq') as fence, found.* from (${found}) found
),
leased as (
  insert into leases (fence, task_id, replica, agent_id, class_id, capability, attempt, failures, assigned_at, timeout_seconds, lone)
  select fence, task_id, replica, $1, class_id, capability_required, attempt, failures, (select now from clock), timeout_seconds, lone from claimed
),
counted as materialized (select array_agg(fence) as fences, count(*) as n from claimed having count(*) > 0),
slots as (update agents set slots_used = slots_used + (select n from counted) where agent_id = (select $1 from counted)),
assigned as (
  insert into events (tx, at, kind, fences) select pg_current_xact_id(), (select now from clock), 'run.assigned', fences from counted
)
select agent_id, slots_used, mode, current, lease_expires_at, n > 0 as able, false as missed, null::bigint as fence, null::bigint as class_id,
  null as task_id, null as task_type, null as capability_required, null as input_data, null::int as attempt, null::int as timeout_seconds,
  null::smallint as slot_cost, null as traceparent, null as checkpoint
from asking
union all
select $1, null, null, null, null, null, null, fence, class_id, task_id, task_type, capability_required, input_data, attempt, timeout_seconds,
  1::smallint, traceparent, ${checkpointOf('claimed')}
from claimed`;

export const CLAIM_ONE = claiming(FOUND.one);
export const CLAIM_MANY = claiming(FOUND.many);
