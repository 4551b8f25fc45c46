import { foldCompleted, foldOne } from '../../trust/fold.ts';
import { LIVES, releaseSlots } from './end-runs.ts';

/**
 * The short forms of `applyResults`, for runs that were completed, of lone tasks nobody waits for: nearly all are. There is no retry to judge and
 * nothing to let go, and what is not there is most of the price of a result. They lock what the full form locks, in its order, and see who
 * waits with the same snapshot as it would. A run that was cancelled, or whose task is not of this kind, they leave as it is: the full
 * form sees to it. Where hardly anybody waits for others, the look for those that do costs next to nothing; it is no EXISTS, which the planner could turn
 * into a join with all of them.
 */
const EASY = `l.lone and l.cancel_requested_at is null and (select 1 from dependencies d where d.needs_task_id = l.task_id limit 1) is null`;

const RUN = 'fence, task_id, replica, agent_id, capability, attempt, assigned_at, started_at, progress';
const INTO_RUNS = `insert into runs (${RUN}, status, final, finished_at, result_data, usage, fold_seq)`;

/** One result. `$1` agent, `$2` boot, `$3` fence, `$4` its data, `$5` its usage. Answers its class, or no row. */
export const COMPLETE_ONE = `
with clock as materialized (select muster_now() as now),
locked as materialized (select agent_id from agents where agent_id = $1 and boot_id = $2 for no key update),
gone as (
  delete from leases l where l.fence = $3::bigint and l.agent_id = (select agent_id from locked) and ${EASY}
  returning ${RUN}, class_id, slot_cost, (select now from clock) as now
),
folded as (${foldOne('gone')}),
recorded as (
  ${INTO_RUNS}
  select ${RUN}, 'COMPLETED', true, now, $4::text::json, $5::text::jsonb, fold_seq from gone, folded
),
released as (update agents set slots_used = slots_used - (select slot_cost from gone) where agents.agent_id = (select agent_id from gone)),
finished as (
  insert into events (tx, at, kind, fences) select pg_current_xact_id(), now, 'run.finished', array[fence] from gone
)
select class_id, array[fence] as fences from gone`;

/** Who reports, which leases are theirs, and what was said of each: of one life, whose `$1` and `$2` are its agent and boot, and of several. */
const FORMS = {
  sole: {
    who: `
clock as materialized (select muster_now() as now),
locked as materialized (select agent_id from agents where agent_id = $1 and boot_id = $2 for no key update)`,
    theirs: 'l.agent_id = (select agent_id from locked)',
    said: 'unnest($3::text::bigint[], $4::text::text[], $5::text::text[]) as x(fence, result_data, usage) on x.fence = g.fence',
    fences: '$3',
  },
  shared: {
    who: `${LIVES},
own as materialized (
  select x.fence, l.agent_id, x.result_data, x.usage
  from unnest($3::text::int[], $4::text::bigint[], $5::text::text[], $6::text::text[]) as x(life, fence, result_data, usage)
  join lives l on l.life = x.life
)`,
    theirs: '((l.fence, l.agent_id) in (select fence, agent_id from own)) is true',
    said: 'own x on x.fence = g.fence and x.agent_id = g.agent_id',
    fences: '$4',
  },
};

/** Many. What all parts want of them is counted once. Answers which were applied, by agent and class. */
const completing = ({ who, theirs, said, fences }: (typeof FORMS)['sole']): string => `
with ${who},
gone as (
  delete from leases l where l.fence = any(${fences}::text::bigint[]) and ${theirs} and ${EASY}
  returning ${RUN}, class_id, slot_cost
),
counted as materialized (
  select agent_id, capability, class_id, count(*)::int as n, sum(slot_cost) as slot_cost, array_agg(fence) as fences from gone group by 1, 2, 3
),
${foldCompleted('counted')},
recorded as (
  ${INTO_RUNS}
  select ${RUN}, 'COMPLETED', true, (select now from clock), result_data::json, usage::jsonb, f.before + nth
  from (
    select g.*, x.result_data, x.usage, row_number() over (partition by g.agent_id, g.capability order by g.fence) as nth from gone g join ${said}
  ) g join folded f using (agent_id, capability)
),
${releaseSlots('counted')},
finished as (
  insert into events (tx, at, kind, fences) select pg_current_xact_id(), (select now from clock), 'run.finished', fences from counted
)
select class_id, fences from counted`;

/** Of one life: `$1` agent, `$2` boot, `$3` fence, `$4` data, `$5` usage of each. */
export const COMPLETE_SOLE = completing(FORMS.sole);
/** Of several: `$1` and `$2` the lives, `$3` which of these, `$4` fence, `$5` data, `$6` usage of each. */
export const COMPLETE_SHARED = completing(FORMS.shared);
