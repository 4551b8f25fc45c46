import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { releasing } from './concurrency.ts';
import { closing, freeKeys } from './dependencies.ts';
import { queuedAgain, reopened, reopenedColumns } from './reopen.ts';

/**
 * Cancels a task: at once where it waits; where it runs it is CANCELLED too, and its run keeps the slot until the agent says
 * that the process is gone: those runs are answered. Undefined when the task was in none of these places in this instant: it has ended, or it moved
 * between them while the statement looked.
 */
export async function cancelTask(
  sql: Sql,
  taskId: string,
  reason: string | null,
  by?: Actor,
): Promise<{ agent_id: string; fence: number }[] | undefined> {
  const rows = await transition<{ agent_id: string | null; fence: string | null }>(sql, {
    change: sql`
      update tasks set closed_status = 'CANCELLED', closed_at = (select now from clock), closed_reason = ${reason}
      where task_id = ${taskId} and closed_status is null
        and (exists (select from unqueued) or exists (select from undelayed) or exists (select from unblocked) or exists (select from ungated) or exists (select from told))
      returning task_id, task_id as subject_id, owner, has_dependents,
        case when exists (select from unqueued) or exists (select from undelayed) then concurrency_key end as concurrency_key, false as completed, jsonb_build_object('reason', closed_reason) as detail,
        jsonb_build_object('status', coalesce((select case when started_at is null then 'ASSIGNED' else 'RUNNING' end from told order by replica limit 1), (select 'BLOCKED' from unblocked), 'PENDING')) as before,
        jsonb_build_object('status', closed_status, 'reason', closed_reason) as after`,
    before: {
      told: sql`
        update leases set cancel_requested_at = (select now from clock) where task_id = ${taskId} and cancel_requested_at is null
        returning agent_id, fence, replica, started_at`,
      unqueued: sql`
        delete from ready where task_id = ${taskId} and (class_id, rank) = (select class_id, rank from tasks where task_id = ${taskId}) returning task_id`,
      undelayed: sql`delete from delayed where task_id = ${taskId} returning task_id`,
      unblocked: sql`delete from blocked where task_id = ${taskId} returning task_id`,
      ungated: sql`delete from gated where task_id = ${taskId} returning task_id`,
      edges: sql`delete from dependencies where task_id = any(array(select task_id from unblocked)) returning task_id`,
    },
    also: {
      ...closing(sql, 'changed'),
      unkeyed: sql.unsafe(freeKeys('changed')),
      ...releasing(sql, 'changed'),
    },
    event: recordEvent(sql, 'task.cancelled'),
    audit: recordAudit(sql, by, 'task.cancel'),
    answer: sql`select told.agent_id, told.fence from changed left join told on true`,
  });
  if (rows.length === 0) return undefined;
  return rows.flatMap(({ agent_id, fence }) => (agent_id && fence ? [{ agent_id, fence: Number(fence) }] : []));
}

/** Queues an ended task again. Its runs stay as history; the fence of the last one says which are forgotten. */
export async function retryTask(
  sql: Sql,
  taskId: string,
  by?: Actor,
): Promise<{ task_id: string; class_id: number } | undefined> {
  const [row] = await transition<{ task_id: string; class_id: number }>(sql, {
    before: {
      locked: sql`select task_id, run_at, task_timeout_seconds, closed_status, closed_reason, reset_fence from tasks where task_id = ${taskId} for no key update`,
      ended: sql`
        select coalesce(l.closed_status, case r.status when 'LOST' then 'FAILED' else r.status end) as status, l.closed_reason as reason
        from locked l left join lateral (
          select status from runs where runs.task_id = l.task_id and runs.final and runs.fence > l.reset_fence order by fence desc limit 1
        ) r on true`,
    },
    change: sql`
      update tasks t set ${reopened(sql)} from ended where task_id = ${taskId} and not exists (select from leases where task_id = ${taskId}) and ended.status not in ('COMPLETED', 'SKIPPED')
      returning ${reopenedColumns(sql)}, t.unique_key, t.task_id as subject_id, t.owner, null::jsonb as detail,
        jsonb_build_object('status', ended.status, 'reason', ended.reason) as before, jsonb_build_object('status', 'PENDING') as after`,
    also: {
      ...queuedAgain(sql),
      keyed: sql`insert into unique_keys (owner, unique_key, task_id) select owner, unique_key, task_id from changed where unique_key is not null`,
    },
    event: recordEvent(sql, 'task.retried'),
    audit: recordAudit(sql, by, 'task.retry'),
    answer: sql`select task_id, class_id from changed`,
  });
  return row;
}

/**
 * Ends tasks nobody has started by their `expires_at`, and tasks that wait when their whole time is over (`started` rows).
 * Those that were started, or have ended, are merely forgotten here; one that is handed out but not begun, or runs until its
 * time is over, or is just moving from `delayed` to `ready`, is looked for again by the next tick.
 */
export async function expireTasks(sql: Sql, limit: number): Promise<number> {
  // A run that was lost or given back before it said that it had started did not start the task.
  const begun = sql`(r.started_at is not null or r.status in ('COMPLETED', 'FAILED', 'TIMED_OUT'))`;
  const waits = sql`(due.started or not exists (select from runs r where r.task_id = due.task_id and ${begun}))`;
  const rows = await transition<{ expired: number }>(sql, {
    before: {
      due: sql`
        select expires_at, task_id, started from expiring where expires_at <= (select now from clock)
        order by 1, 2, 3 limit ${limit} for update skip locked`,
      unqueued: sql`
        delete from ready q using due, tasks t
        where t.task_id = due.task_id and q.class_id = t.class_id and q.rank = t.rank and q.task_id = t.task_id and ${waits} returning q.task_id`,
      undelayed: sql`delete from delayed d using due where d.task_id = due.task_id and ${waits} returning d.task_id`,
      unblocked: sql`delete from blocked b using due where b.task_id = due.task_id returning b.task_id`,
      ungated: sql`delete from gated g using due where g.task_id = due.task_id and ${waits} returning g.task_id`,
      edges: sql`delete from dependencies where task_id = any(array(select task_id from unblocked)) returning task_id`,
      ended: sql`select task_id from unqueued union select task_id from undelayed union select task_id from unblocked union select task_id from ungated`,
      forgotten: sql`
        delete from expiring e using due d where e.expires_at = d.expires_at and e.task_id = d.task_id and e.started = d.started and (
          d.task_id in (select task_id from ended)
          or not d.started and (
            exists (select from leases l where l.task_id = d.task_id and l.started_at is not null)
            or exists (select from runs r where r.task_id = d.task_id and ${begun}))
          or exists (select from tasks t where t.task_id = d.task_id and t.closed_status is not null)
          or exists (select from runs r where r.task_id = d.task_id and r.final))
        returning e.task_id`,
    },
    change: sql`
      update tasks t set closed_status = case when late.over then 'TIMED_OUT' else 'EXPIRED' end, closed_at = (select now from clock),
        closed_reason = case when late.over then 'took longer than ' || t.task_timeout_seconds || ' s in all' else 'not started by expires_at' end
      from (select task_id, bool_and(started) as over from due where task_id in (select task_id from ended) group by task_id) late
      where t.closed_status is null and t.task_id = late.task_id
      returning t.task_id, t.task_id as subject_id, t.owner, t.has_dependents, false as completed, jsonb_build_object('status', t.closed_status) as detail,
        case when t.task_id in (select task_id from unqueued union select task_id from undelayed) then t.concurrency_key end as concurrency_key`,
    also: {
      ...closing(sql, 'changed'),
      unkeyed: sql.unsafe(freeKeys('changed')),
      ...releasing(sql, 'changed'),
    },
    event: recordEvent(sql, 'task.expired'),
    answer: sql`select count(*)::int as expired from forgotten`,
  });
  return rows[0]?.expired ?? 0;
}

/** Moves what has become due from `delayed` to `ready`. Answers the classes there is now work of. */
export async function promoteTasks(hot: Sql, limit: number): Promise<number[]> {
  const rows = await hot<{ class_id: string }[]>`
    with clock as materialized (select muster_now() as now),
    due as (
      delete from delayed where ctid = any(array(
        select ctid from delayed where run_at <= (select now from clock) order by run_at limit ${limit} for update skip locked))
      returning class_id, rank, task_id, replica, attempt, failures
    )
    insert into ready (class_id, rank, task_id, replica, attempt, failures)
    select class_id, rank, task_id, replica, attempt, failures from due returning class_id`;
  return rows.map((row) => Number(row.class_id));
}
