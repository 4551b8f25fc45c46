import { statesAllowing, TASK } from '@muster/shared/lifecycle';
import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { releasing } from './concurrency.ts';
import { closing, freeKeys } from './dependencies.ts';
import { chosenOf, retryTasks } from './reopen.ts';

/** A task that was cancelled, by each of its runs that is to be stopped; by none where none was live. */
interface Cancelled {
  task_id: string;
  agent_id: string | null;
  fence: string | null;
}

/** Takes tasks from wherever they wait, and has their runs told to stop, for the statement that cancels them: CTEs by name. `places`: where each was. */
const leaving = (sql: Sql, ids: Fragment): Record<string, Fragment> => ({
  told: sql`
    update leases set cancel_requested_at = (select now from clock)
    where fence = any(array(
      select fence from leases l where task_id = ${ids} and cancel_requested_at is null and (replica = 0 or exists (
        select from verifications v where v.task_id = l.task_id and v.state in ('OPEN', 'VERIFYING')))
      order by fence for no key update))
    returning task_id, agent_id, fence, replica, started_at`,
  unqueued: unqueue(sql, ids),
  undelayed: sql`delete from delayed where task_id = ${ids} returning task_id`,
  unblocked: sql`delete from blocked where task_id = ${ids} returning task_id`,
  ungated: sql`delete from gated where task_id = ${ids} returning task_id`,
  unverified: unverify(sql, ids),
  unbound: sql`delete from dependencies where task_id = any(array(select task_id from unblocked)) returning task_id`,
  // `held`: it has a place of its concurrency key and no run that would give it back.
  places: sql`
    select task_id, (array_agg(status order by n))[1] as status, bool_or(held) as held from (
      select task_id, case when started_at is null then 'ASSIGNED' else 'RUNNING' end as status, replica as n, false as held from told
      union all select task_id, 'PENDING', 100, true from unqueued union all select task_id, 'PENDING', 100, true from undelayed
      union all select task_id, state, 100, true from unverified
      union all select task_id, 'BLOCKED', 100, false from unblocked union all select task_id, 'PENDING', 100, false from ungated
    ) place where n in (0, 100) group by task_id`,
});

const cancelled = (sql: Sql, reason: string | null): Fragment => sql`
  update tasks t set closed_status = 'CANCELLED', closed_at = (select now from clock), closed_reason = ${reason}
  from places p where t.task_id = any(array(select task_id from places)) and t.task_id = p.task_id and t.closed_status is null
  returning t.task_id, t.task_id as subject_id, t.owner, t.has_dependents, case when p.held then t.concurrency_key end as concurrency_key,
    false as completed, jsonb_build_object('reason', t.closed_reason) as detail,
    jsonb_build_object('status', p.status) as before, jsonb_build_object('status', t.closed_status, 'reason', t.closed_reason) as after`;

/** What the end of tasks by a word sets free; nothing of them is wanted or looked at any more. */
const freeing = (sql: Sql, over: string): Record<string, Fragment> => ({
  ...closing(sql, over),
  unkeyed: sql.unsafe(freeKeys(over)),
  ...releasing(sql, over),
  unchecked: sql`delete from verifications where task_id = any(array(select task_id from ${sql(over)})) and state in ('ALONE', 'OPEN')`,
  unwanted: sql`delete from replicas where task_id = any(array(select task_id from ${sql(over)})) and fence is null`,
});

/**
 * Cancels tasks: at once where they wait; where they run they are CANCELLED too, and their runs keep the slots until the agents say
 * that the processes are gone. Left out are those that were in none of these places in this instant: they have ended, or they moved
 * between them while the statement looked.
 */
export function cancelTasks(
  sql: Sql,
  taskIds: readonly string[],
  reason: string | null,
  audit?: Fragment,
): Promise<Cancelled[]> {
  return transition<Cancelled>(sql, {
    before: leaving(sql, sql`any(${taskIds as string[]}::text[])`),
    change: cancelled(sql, reason),
    also: freeing(sql, 'changed'),
    event: recordEvent(sql, 'task.cancelled'),
    audit,
    answer: sql`select c.task_id, told.agent_id, told.fence from changed c left join told on told.task_id = c.task_id`,
  });
}

/** The same as parts of a transition of something else. `which`: a CTE with their `task_id`. */
export const cancelling = (sql: Sql, which: string, reason: string): Record<string, Fragment> => ({
  ...leaving(sql, sql`any(array(select task_id from ${sql(which)}))`),
  cancelled: cancelled(sql, reason),
  ...freeing(sql, 'cancelled'),
  cancelled_told: recordEvent(sql, 'task.cancelled', 'cancelled'),
});

/** The runs of tasks that are to stop and have not yet. */
export async function listStopped(sql: Sql, taskIds: readonly string[]): Promise<StoppedRun[]> {
  const rows = await sql<Cancelled[]>`
    select task_id, agent_id, fence from leases where task_id = any(${taskIds as string[]}::text[]) and cancel_requested_at is not null`;
  return stoppedRuns(rows);
}

/** Cancels one task. Answers its runs that are to be stopped; undefined where it was not cancelled. */
export async function cancelTask(
  sql: Sql,
  taskId: string,
  reason: string | null,
  by?: Actor,
): Promise<StoppedRun[] | undefined> {
  const rows = await cancelTasks(sql, [taskId], reason, recordAudit(sql, by, 'task.cancel'));
  return rows.length > 0 ? stoppedRuns(rows) : undefined;
}

/** A run that its agent is to stop. */
export interface StoppedRun {
  agent_id: string;
  fence: number;
}

export const stoppedRuns = (rows: readonly Cancelled[]): StoppedRun[] =>
  rows.flatMap(({ agent_id, fence }) => (agent_id && fence ? [{ agent_id, fence: Number(fence) }] : []));

/** Takes tasks from those who would decide about their answers. */
const unverify = (sql: Sql, ids: Fragment): Fragment =>
  sql`delete from verifications where task_id = ${ids} and state = 'VERIFYING' returning task_id, state`;

/** Takes tasks out of `ready`, one by one by the key it is sorted by, whatever the planner thinks of the table. */
export const unqueue = (sql: Sql, ids: Fragment): Fragment => sql`
  delete from ready where ctid = any(array(
    select q.place from tasks t cross join lateral (
      select ctid as place from ready where ready.class_id = t.class_id and ready.rank = t.rank and ready.task_id = t.task_id offset 0
    ) q where t.task_id = ${ids}))
  returning task_id, replica, attempt, failures`;

/** Queues one ended task again. */
export async function retryTask(
  sql: Sql,
  taskId: string,
  by?: Actor,
): Promise<{ task_id: string; class_id: number } | undefined> {
  const choice = {
    chosen: chosenOf(sql, [taskId]),
    ended: statesAllowing(TASK, 'retry'),
    patient: true,
  };
  const [row] = await retryTasks(sql, choice, recordAudit(sql, by, 'task.retry'));
  return row;
}

/** Whether the time of any task is over. */
export const TO_EXPIRE = 'exists (select from expiring where expires_at <= (select now from clock))';

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
      unverified: unverify(sql, sql`any(array(select task_id from due where started))`),
      edges: sql`delete from dependencies where task_id = any(array(select task_id from unblocked)) returning task_id`,
      ended: sql`
        select task_id from unqueued union select task_id from undelayed union select task_id from unblocked union select task_id from ungated
        union select task_id from unverified`,
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
        case when t.task_id in (select task_id from unqueued union select task_id from undelayed union select task_id from unverified) then t.concurrency_key end as concurrency_key`,
    also: freeing(sql, 'changed'),
    event: recordEvent(sql, 'task.expired'),
    answer: sql`select count(*)::int as expired from forgotten`,
  });
  return rows[0]?.expired ?? 0;
}

/** Whether anything in `delayed` has become due. */
export const TO_PROMOTE = 'exists (select from delayed where run_at <= (select now from clock))';

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
