import type { Sql } from 'postgres';

/** Whether runs have been deleted: what counts them counts no more than there were. */
const DELETED = `exists (select from events where kind = 'run.deleted')`;

/** What must hold between the rows of the network whenever nothing is under way: name -> the rows that contradict it. */
const INVARIANTS: Record<string, string> = {
  'slots_used counts the slots its leases take': `
    select a.agent_id, a.slots_used, coalesce(sum(l.slot_cost), 0) as taken from agents a left join leases l using (agent_id)
    group by a.agent_id having a.slots_used <> coalesce(sum(l.slot_cost), 0)`,
  'a lease has an agent and a task': `
    select l.fence, l.agent_id, l.task_id from leases l left join agents a using (agent_id) left join tasks t using (task_id)
    where a.agent_id is null or t.task_id is null`,
  'a task that has not ended is in one place, one that has in none': `
    with places as (
      select task_id, replica, 'ready' as place from ready union all select task_id, replica, 'delayed' from delayed union all select task_id, 0, 'blocked' from blocked
      union all select task_id, 0, 'gated' from gated
      union all select task_id, 0, 'verifications' from verifications where state = 'VERIFYING'
      union all select task_id, replica, 'leases' from leases where cancel_requested_at is null and replica = 0)
    select coalesce(t.task_id, p.task_id) as task_id, t.closed_status, array_agg(p.place) as places from tasks t full join places p using (task_id)
    group by t.task_id, p.task_id, t.closed_status
    having count(p.place) <> case when t.task_id is null or t.closed_status is not null
      or exists (select from runs r where r.task_id = t.task_id and r.final and r.fence > t.reset_fence) then 0 else 1 end`,
  'what waits, waits with the class and the rank of its task': `
    select q.task_id from (select task_id, class_id, rank from ready union all select task_id, class_id, rank from delayed) q
    join tasks t using (task_id) where (q.class_id, q.rank) is distinct from (t.class_id, t.rank)`,
  'a task that waits for others is blocked, and counts them': `
    select b.task_id, b.open, count(d.needs_task_id) as edges from blocked b full join dependencies d using (task_id)
    group by b.task_id, b.open having b.open is distinct from count(d.needs_task_id)`,
  'a concurrency key counts those under way, and no more than it may': `
    select l.owner, l.concurrency_key, l.held, l.max, count(u.task_id) as under_way from concurrency_limits l left join (
      select t.owner, t.concurrency_key, t.task_id from tasks t
      join (select task_id from ready union all select task_id from delayed union all select task_id from leases where replica = 0
        union all select task_id from verifications where state = 'VERIFYING') p using (task_id)
    ) u using (owner, concurrency_key) group by 1, 2, 3, 4 having l.held <> count(u.task_id) or l.held > l.max`,
  'a unique key is of an open task that has it': `
    select k.unique_key, k.task_id from unique_keys k left join task_state s using (task_id)
    where s.unique_key is distinct from k.unique_key or s.status in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED', 'SKIPPED')
    union all select s.unique_key, s.task_id from task_state s left join unique_keys k using (task_id)
    where s.unique_key is not null and k.task_id is null and s.status in ('BLOCKED', 'PENDING', 'ASSIGNED', 'RUNNING', 'VERIFYING')`,
  'a run to be stopped is of a cancelled task': `
    select l.fence, t.closed_status from leases l join tasks t using (task_id)
    where l.cancel_requested_at is not null and t.closed_status is distinct from 'CANCELLED'`,
  'a task ends by one run or by a word, once': `
    select t.task_id, t.closed_status, count(*) as final_runs from tasks t join runs r on r.task_id = t.task_id and r.final and r.fence > t.reset_fence
    group by t.task_id having count(*) + (t.closed_status is not null)::int > 1`,
  'only an end that says so is final': `
    select fence, status from runs where final and status in ('CANCELLED', 'RETURNED')
    union all select fence, status from runs join tasks t using (task_id) where status = 'COMPLETED' and not final and t.verification is null`,
  'a run has a task and an agent, and is not live too': `
    select r.fence from runs r left join agents a using (agent_id) left join tasks t using (task_id) left join leases l on l.fence = r.fence
    where a.agent_id is null or t.task_id is null or l.fence is not null`,
  'attempts count from one': `
    select task_id, attempts from (
      select t.task_id, array_agg(r.attempt order by r.fence) as attempts from tasks t
      join (select task_id, replica, fence, attempt from runs union all select task_id, replica, fence, attempt from leases) r
        on r.task_id = t.task_id and r.fence > t.reset_fence group by t.task_id, r.replica
    ) a where attempts <> array(select generate_series(1, cardinality(attempts))) and not ${DELETED}`,
  'trust counts the runs that were folded': `
    select agent_id, capability, t.fold_seq, r.n, j.adjusted from trust t full join (
      select agent_id, capability, count(fold_seq) as n, count(fold_seq) filter (where status = 'COMPLETED') as completed, count(fold_seq) filter (where status = 'FAILED') as failed,
        count(fold_seq) filter (where status = 'TIMED_OUT') as timed_out, count(fold_seq) filter (where status = 'LOST') as lost
      from runs where fold_seq is not null group by 1, 2
    ) r using (agent_id, capability)
    full join (select agent_id, capability, count(*) as adjusted from trust_adjustments group by 1, 2) j using (agent_id, capability)
    where case when ${DELETED} then coalesce(r.n, 0) + coalesce(j.adjusted, 0) > coalesce(t.fold_seq, 0)
      else (t.fold_seq, t.completed, t.failed, t.timed_out, t.lost) is distinct from
        (coalesce(r.n, 0) + coalesce(j.adjusted, 0), coalesce(r.completed, 0), coalesce(r.failed, 0), coalesce(r.timed_out, 0), coalesce(r.lost, 0)) end`,
  'fold_seq counts from one': `
    select * from (select agent_id, capability, array_agg(fold_seq order by fold_seq) as seqs from (
      select agent_id, capability, fold_seq from runs where fold_seq is not null union all select agent_id, capability, fold_seq from trust_adjustments
    ) pieces group by 1, 2) f
    where seqs <> array(select generate_series(1::bigint, cardinality(seqs))) and not ${DELETED}`,
  'integrity counts the verdicts and words that were folded, each at its own place': `
    select agent_id, capability, i.fold_seq, v.n, v.last from integrity i full join (
      select agent_id, capability, count(*) as n, max(fold_seq) as last from verdicts where fold_seq is not null group by 1, 2
    ) v using (agent_id, capability)
    where case when ${DELETED} then coalesce(v.last, 0) > coalesce(i.fold_seq, 0) else (i.fold_seq, i.fold_seq) is distinct from (v.n, v.last) end`,
  'a run is told when it begins and when it ends, once': `
    with told as (select fence, kind, count(*) as n from events e, unnest(e.fences) as fence group by 1, 2),
    lived as (select fence, true as ended from runs union all select fence, false from leases)
    select fence, a.n as assigned, f.n as finished from lived
    full join (select * from told where kind = 'run.assigned') a using (fence) full join (select * from told where kind = 'run.finished') f using (fence)
    full join (select * from told where kind = 'run.deleted') d using (fence)
    where (ended is null) is distinct from (d.n is not null) or d.n > 1
      or a.n is distinct from 1 or f.n is distinct from case when ended or d.n is not null then 1 end`,
  'a check is of a task that is verified, and stands as that does': `
    select v.task_id, v.state, s.status from verifications v left join task_state s using (task_id)
    where s.verification is null or case when v.state in ('ACCEPTED', 'AGREED', 'REVIEWING') then s.status <> 'COMPLETED' else (v.state = 'VERIFYING') <> (s.status = 'VERIFYING') end
    union all select task_id, null, status from task_state where status = 'COMPLETED' and verification is not null and finality is null`,
  'a result is that of the run its check names, and has a finality': `
    select v.task_id, v.state, v.fence, v.finality from verifications v left join runs r on r.fence = v.fence and r.task_id = v.task_id
    where v.state in ('ACCEPTED', 'AGREED', 'REVIEWING') and (r.final is not true or v.finality is null)`,
  'a result is looked at again where its agent was caught': `
    select task_id, state, suspect from verifications where (state = 'REVIEWING') <> (suspect is not null)`,
  'a run that was asked for is wanted, or runs, or has ended': `
    select q.task_id, q.replica, q.fence, v.state from replicas q left join verifications v using (task_id) left join leases l on l.fence = q.fence left join runs r on r.fence = q.fence
    where q.fence is null and coalesce(v.state not in ('OPEN', 'VERIFYING', 'REVIEWING', 'ENDED') and (q.kind <> 'canary' or v.state <> 'AGREED'), true)
      or q.fence is not null and coalesce(l.replica, r.replica) is distinct from q.replica and not ${DELETED}`,
  'no two runs that check each other are of one party': `
    select v.task_id, array_agg(r.fence) as fences from verifications v join tasks t using (task_id)
    join (select fence, task_id, agent_id, replica from runs where status = 'COMPLETED' union all select fence, task_id, agent_id, replica from leases) r
      on r.task_id = v.task_id and r.fence > t.reset_fence and r.replica > 0
    join agents a on a.agent_id = r.agent_id
    group by v.task_id, case v.apart when 'owner' then a.owner else a.enrollment_token_id end having count(*) > 1`,
  'a verdict on a run is on that of its agent': `
    select d.verdict_id, d.fence from verdicts d join runs r on r.fence = d.fence where r.agent_id <> d.agent_id`,
  'a schedule is due when it is active, and knows from when it is paused': `
    select schedule_id, status from schedules where (status = 'ACTIVE') <> (next_run_at is not null) or paused_from is not null and status <> 'PAUSED'`,
  'a due time has one execution, a task no more': `
    select schedule_id, scheduled_at, until, status from executions e where status in ('FIRED', 'SKIPPED', 'MISSED') and exists (
      select from executions o where o.schedule_id = e.schedule_id and o.execution_id <> e.execution_id and o.status in ('FIRED', 'SKIPPED', 'MISSED')
        and o.scheduled_at between e.scheduled_at and coalesce(e.until, e.scheduled_at))
    union all select schedule_id, scheduled_at, until, status from executions e where task_id in (select task_id from executions group by 1 having count(*) > 1)
    union all select schedule_id, scheduled_at, until, status from executions where (status in ('SKIPPED', 'MISSED')) <> (reason is not null) or (count > 1) <> (until is not null)`,
  'a task is told when it comes to be, once': `
    select t.task_id, count(e) as events from tasks t left join (select unnest(subject_ids) as task_id, kind as e from events where kind = 'task.created') e using (task_id)
    group by 1 having count(e) <> 1`,
};

/** Throws where rows contradict each other; say it when no statement is under way. */
export async function auditRows(sql: Sql): Promise<void> {
  // One statement, so that all look at the same moment. Each is planned for all of its rows: for a few of them, of which there are none, one would go through all tasks for each event.
  const parts = Object.entries(INVARIANTS).map(
    ([name, query]) =>
      `select '${name}' as invariant, (with q as materialized (${query}) select jsonb_agg(v) from (select * from q limit 5) v) as found`,
  );
  const rows = await sql.unsafe(`select * from (${parts.join('\nunion all\n')}) a where found is not null`);
  if (rows.length === 0) return;
  throw new Error(rows.map((row) => `not so: ${row.invariant}: ${JSON.stringify(row.found)}`).join('\n'));
}
