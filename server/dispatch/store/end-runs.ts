import { runEvent } from '../../events/record.ts';
import { releaseKeys } from '../../tasks/store/concurrency.ts';
import { closeDependencies, freeKeys } from '../../tasks/store/dependencies.ts';
import { foldTrust } from '../../trust/fold.ts';

/** Milliseconds before the next try: the formula of shared/backoff.ts, with the equal jitter drawn here. */
const BACKOFF_MS = `
  least(retry_base_ms * case retry_policy when 'linear' then failures + 1 when 'exponential' then power(2, least(failures, 30)) else 1 end, retry_cap_ms)
  * case when retry_jitter then 0.5 + random() / 2 else 1 end`;

/** After so many attempts a task that is given back waits before the next: somebody may be playing with it. */
const PATIENCE = 10;

/** So many different agents must have been lost over a task before it is given up: it may be what kills them. */
const DEADLY = 3;
const POISONED = `
  case when e.status = 'LOST' and e.fault = 'agent' and e.failures >= ${DEADLY - 1} then (
    select count(distinct r.agent_id) from runs r
    where r.task_id = e.task_id and r.status = 'LOST' and r.fault = 'agent' and r.fence > t.reset_fence and r.agent_id <> e.agent_id
  ) >= ${DEADLY - 1} else false end`;

/** Whether the answer of a run `e` is taken at its agent's word: drawn when that agent claimed it. */
const ALONE = `(select count(*) from verifications v where v.task_id = e.task_id and v.state = 'ALONE' and v.fence = e.fence) > 0`;

/**
 * What ended runs are to the checks of their tasks: an answer to be compared (also where nobody drew, for the coordinator died that should have),
 * one that is taken at its agent's word, no answer any more; or of another's answer, which is merely to be looked at.
 */
const VERIFYING = `
verifying as (
  insert into verifications as v (task_id, state, fence, agent_id, capability, finality, check_at, decided_at)
  select distinct on (j.task_id) j.task_id, s.state, j.fence, j.agent_id, j.capability, case s.state when 'ACCEPTED' then 'provisional' end,
    case when s.state <> 'ACCEPTED' then (select now from clock) end, case s.state when 'ACCEPTED' then (select now from clock) end
  from judged j cross join lateral (
    select case when j.next = 'verify' then 'VERIFYING' when j.next = 'final' and j.status = 'COMPLETED' then 'ACCEPTED' when j.next = 'final' then 'ENDED' else 'OPEN' end as state
  ) s
  where j.verified and j.next in ('verify', 'final', 'replica')
    and (s.state in ('VERIFYING', 'ACCEPTED') or (select count(*) from verifications v where v.task_id = j.task_id) > 0)
  order by j.task_id, j.replica
  on conflict (task_id) do update set turn = v.turn + 1,
    state = case excluded.state when 'OPEN' then v.state else excluded.state end,
    fence = case excluded.state when 'OPEN' then v.fence else excluded.fence end,
    agent_id = case excluded.state when 'OPEN' then v.agent_id else excluded.agent_id end,
    capability = case excluded.state when 'OPEN' then v.capability else excluded.capability end, finality = coalesce(excluded.finality, v.finality),
    check_at = excluded.check_at, decided_at = coalesce(excluded.decided_at, v.decided_at)
)`;

/** The lives that report, `$1` agents and `$2` boots: their agents locked first, by id, and those left out that are over. */
export const LIVES = `
clock as materialized (select muster_now() as now),
locked as materialized (
  select agent_id, boot_id from agents where agent_id = any($1::text::text[]) order by agent_id for no key update
),
lives as materialized (
  select * from unnest($1::text::text[], $2::text::text[]) with ordinality as l(agent_id, boot_id, life)
  where ((agent_id, boot_id) in (select agent_id, boot_id from locked)) is true
)`;

/**
 * The tail of every statement that ends runs: results, reaped leases, timeouts, a leaving agent, a new boot. It decides what
 * becomes of each task, writes the run (its evidence), folds the evidence into trust, queues the task again or not, and
 * records the event. The slots are given back beside it (`releaseSlots`), or where the agents' rows change anyway. Whoever begins such a statement has locked the agents' rows, in id order.
 *
 * What many parts look at stands first in `judged`: a row is taken apart up to the last column that is wanted, in each of them.
 * It reads the CTE `ended`: the deleted leases, with the status, fault, retryable, result_data, error, usage and ord of each.
 * `next`: `final` the task ends with this run, `verify` it has an answer that others check, `ready` and `delayed` it is tried again, `replica` it checks
 * the task's answer, and the task does not go by it, `none` it had been cancelled.
 */
export const END_RUNS = `
judged as materialized (
  select
    case
      when e.cancel_requested_at is not null then 'none'
      when e.replica <> 0 then 'replica'
      when e.status = 'COMPLETED' then case when t.verification is null or ${ALONE} then 'final' else 'verify' end
      when e.status in ('RETURNED', 'CANCELLED') then case when e.attempt < ${PATIENCE} then 'ready' else 'delayed' end
      when not e.retryable or e.error ->> 'code' = any(t.non_retryable) or t.retry_policy = 'none' or e.failures >= t.max_retries
        or t.run_at + make_interval(secs => t.task_timeout_seconds) <= (select now from clock) or p.poisoned then 'final'
      when e.status = 'LOST' then 'ready'
      else 'delayed'
    end as next,
    case when e.cancel_requested_at is not null then 'CANCELLED' when e.status = 'CANCELLED' then 'RETURNED' else e.status end as run_status,
    t.verification is not null as verified, t.has_dependents, t.unique_key, t.concurrency_key, e.fence, e.ord, e.agent_id, e.capability, e.class_id, e.slot_cost, e.task_id, e.fault, e.status, t.owner,
    e.replica, e.attempt, e.failures, e.assigned_at, e.started_at, e.progress, e.result_data, e.error, e.usage, p.poisoned, t.rank, t.retry_policy, t.retry_base_ms,
    t.retry_cap_ms, t.retry_jitter
  from ended e cross join lateral (
    select rank, run_at, max_retries, retry_policy, retry_base_ms, retry_cap_ms, retry_jitter, non_retryable, task_timeout_seconds, unique_key,
      has_dependents, owner, concurrency_key, reset_fence, verification from tasks where tasks.task_id = e.task_id offset 0
  ) t cross join lateral (select ${POISONED} as poisoned) p
),
${foldTrust('judged')},
recorded as (
  insert into runs (fence, task_id, replica, agent_id, capability, attempt, status, final, fault, assigned_at, started_at, finished_at,
    result_data, error, progress, usage, fold_seq)
  select j.fence, j.task_id, j.replica, j.agent_id, j.capability, j.attempt, j.run_status, j.next = 'final', j.fault, j.assigned_at, j.started_at,
    (select now from clock), j.result_data,
    case when j.poisoned then j.error || jsonb_build_object('code', 'poison', 'message', '${DEADLY} agents were lost over it; the last: ' || (j.error ->> 'message')) else j.error end,
    j.progress, j.usage, s.fold_seq
  from judged j left join folded_runs s on s.fence = j.fence
),
requeued as (
  insert into ready (class_id, rank, task_id, replica, attempt, failures)
  select class_id, rank, task_id, replica, attempt, failures + (status = 'LOST')::int from judged where next = 'ready'
),
postponed as (
  insert into delayed (run_at, task_id, replica, class_id, rank, attempt, failures)
  select (select now from clock) + ${BACKOFF_MS} * interval '1 millisecond', task_id, replica, class_id, rank, attempt, failures + (run_status <> 'RETURNED')::int from judged where next = 'delayed'
),
over as materialized (select task_id, status = 'COMPLETED' as completed, has_dependents, unique_key from judged where next = 'final'),
${Object.entries(closeDependencies('over'))
  .map(([name, text]) => `${name} as (${text})`)
  .join(',\n')},
unkeyed as (${freeKeys('(select task_id from over where unique_key is not null) keyed')}),
${Object.entries(
  releaseKeys(
    `(select owner, concurrency_key from judged where next = 'final' or next = 'none' and replica = 0) over_keys`,
  ),
)
  .map(([name, text]) => `${name} as (${text})`)
  .join(',\n')},
${VERIFYING},
finished as (${runEvent('run.finished', 'judged')})`;

/** Gives back the slots of the runs that ended; `of` gives their `agent_id` and `slot_cost`. */
export const releaseSlots = (of: string): string => `
released as (
  update agents set slots_used = slots_used - g.n from (select agent_id, sum(slot_cost) as n from ${of} group by 1) g
  where agents.agent_id = any(array(select distinct agent_id from ${of})) and agents.agent_id = g.agent_id
)`;

/** What an `ended` CTE is made of where the coordinator ends runs by itself: `gone` are the deleted leases. */
export const endedBy = ({ status, fault, error }: { status: string; fault: string; error: string }): string => `
ended as (
  select g.*, '${status}' as status, ${fault} as fault, true as retryable, null::json as result_data, ${error} as error, null::jsonb as usage, g.fence as ord from gone g
)`;
