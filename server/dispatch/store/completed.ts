import { runEvent } from '../../events/record.ts';
import { foldOne, foldTrust } from '../../trust/fold.ts';
import { LIVES, releaseSlots } from './end-runs.ts';

/**
 * The short forms of `applyResults`, for runs that were completed, of tasks nobody waits for and that hold no key: nearly all are.
 * There is no retry to judge and nothing to let go, and what is not there is most of the price of a single result. They lock what the
 * full form locks, in its order, and read `has_dependents` with the same snapshot as it would. A run that was cancelled, or whose task is
 * not of this kind, they leave as it is: the full form sees to it.
 */
const PLAIN = `l.cancel_requested_at is null
    and (select not has_dependents and unique_key is null and concurrency_key is null and verification is null from tasks where tasks.task_id = l.task_id)`;

const RUN = 'fence, task_id, replica, agent_id, capability, attempt';
const TIMES = 'assigned_at, started_at';
const INTO_RUNS = `insert into runs (${RUN}, ${TIMES}, progress, status, final, finished_at, result_data, usage, fold_seq)`;

/** One result. `$1` agent, `$2` boot, `$3` fence, `$4` its data, `$5` its usage. Answers its class, or no row. */
export const COMPLETE_ONE = `
with clock as materialized (select muster_now() as now),
locked as materialized (select agent_id from agents where agent_id = $1 and boot_id = $2 for no key update),
gone as (
  delete from leases l where l.fence = $3::bigint and l.agent_id = (select agent_id from locked) and ${PLAIN}
  returning ${RUN}, ${TIMES}, progress, class_id, slot_cost, (select now from clock) as now
),
folded as (${foldOne('gone')}),
recorded as (
  ${INTO_RUNS}
  select ${RUN}, ${TIMES}, progress, 'COMPLETED', true, now, $4::text::json, $5::text::jsonb, fold_seq from gone, folded
),
released as (update agents set slots_used = slots_used - (select slot_cost from gone) where agents.agent_id = (select agent_id from gone)),
finished as (
  insert into events (tx, at, kind, fences) select pg_current_xact_id(), now, 'run.finished', array[fence] from gone
)
select class_id, '{1}' as ords from gone`;

/** Many. `$1` and `$2` the lives; `$3` which of these, `$4` fence, `$5` data, `$6` usage of each. Answers which were applied, by class. */
export const COMPLETE_MANY = `
with ${LIVES},
own as materialized (
  select x.fence, l.agent_id, x.ord, x.result_data, x.usage
  from unnest($3::text::int[], $4::text::bigint[], $5::text::text[], $6::text::text[])
    with ordinality as x(life, fence, result_data, usage, ord)
  join lives l on l.life = x.life
),
gone as (
  delete from leases l where l.fence = any($4::text::bigint[]) and ((l.fence, l.agent_id) in (select fence, agent_id from own)) is true and ${PLAIN}
  returning ${RUN}, ${TIMES}, progress, class_id, slot_cost
),
ended as materialized (
  select g.fence, g.agent_id, g.capability, x.ord, g.class_id, g.slot_cost, 'COMPLETED' as run_status, null::text as fault, g.task_id, g.replica,
    g.attempt, g.assigned_at, g.started_at, g.progress, x.result_data, x.usage
  from gone g join own x on x.fence = g.fence and x.agent_id = g.agent_id
),
${foldTrust('ended')},
recorded as (
  ${INTO_RUNS}
  select e.fence, task_id, replica, agent_id, capability, attempt, ${TIMES}, progress, 'COMPLETED', true, (select now from clock), result_data::json, usage::jsonb, s.fold_seq
  from ended e join folded_runs s on s.fence = e.fence
),
${releaseSlots('ended')},
finished as (${runEvent('run.finished', 'ended')})
select class_id, array_agg(ord) as ords from ended group by 1`;
