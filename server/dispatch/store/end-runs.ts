import { BACKOFF_BASE_MS, BACKOFF_CAP_MS } from '@muster/shared/backoff';
import { runEvent } from '../../events/record.ts';
import { foldTrust } from '../../trust/fold.ts';

/** Milliseconds before the next try: the formula of shared/backoff.ts, with the equal jitter drawn here. */
const BACKOFF_MS = `
  least(${BACKOFF_BASE_MS} * case retry_policy when 'linear' then failures + 1 when 'exponential' then power(2, least(failures, 30)) else 1 end, ${BACKOFF_CAP_MS})
  * (0.5 + random() / 2)`;

/** After so many attempts a task that is given back waits before the next: somebody may be playing with it. */
const PATIENCE = 10;

/**
 * The tail of every statement that ends runs: results, reaped leases, timeouts, a leaving agent, a new boot. It decides what
 * becomes of each task, writes the run (its evidence), folds the evidence into trust, queues the task again or not, and
 * records the event. The slots are given back beside it (RELEASE_SLOTS), or where the agents' rows change anyway. Whoever begins such a statement has locked the agents' rows, in id order.
 *
 * It reads the CTE `ended`: the deleted leases, with the status, fault, retryable, result_data, error and ord of each.
 * `next`: `final` the task ends with this run, `ready` and `delayed` it is tried again, `none` it had been cancelled.
 */
export const END_RUNS = `
judged as materialized (
  select e.*, t.rank, t.retry_policy,
    case when e.cancel_requested_at is not null then 'CANCELLED' when e.status = 'CANCELLED' then 'RETURNED' else e.status end as run_status,
    case
      when e.cancel_requested_at is not null then 'none'
      when e.status = 'COMPLETED' then 'final'
      when e.status in ('RETURNED', 'CANCELLED') then case when e.attempt < ${PATIENCE} then 'ready' else 'delayed' end
      when not e.retryable or t.retry_policy = 'none' or e.failures >= t.max_retries then 'final'
      when e.status = 'LOST' then 'ready'
      else 'delayed'
    end as next
  from ended e cross join lateral (select rank, retry_policy, max_retries from tasks where tasks.task_id = e.task_id offset 0) t
),
${foldTrust('judged')},
recorded as (
  insert into runs (fence, task_id, replica, agent_id, capability, attempt, status, final, fault, assigned_at, started_at, finished_at,
    result_data, error, progress, fold_seq)
  select j.fence, j.task_id, j.replica, j.agent_id, j.capability, j.attempt, j.run_status, j.next = 'final', j.fault, j.assigned_at, j.started_at,
    (select now from clock), j.result_data, j.error, j.progress, s.fold_seq
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
finished as (${runEvent('run.finished', 'judged')})`;

/** Gives back the slots of the runs that ended. */
export const RELEASE_SLOTS = `
released as (
  update agents set slots_used = slots_used - g.n from (select agent_id, count(*) as n from judged group by 1) g
  where agents.agent_id = any(array(select distinct agent_id from judged)) and agents.agent_id = g.agent_id
)`;

/** What an `ended` CTE is made of where the coordinator ends runs by itself: `gone` are the deleted leases. */
export const endedBy = ({ status, fault, error }: { status: string; fault: string; error: string }): string => `
ended as materialized (
  select g.*, '${status}' as status, ${fault} as fault, true as retryable, null::json as result_data, ${error} as error, g.fence as ord from gone g
)`;
