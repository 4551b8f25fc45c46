import { runIdOf } from '@muster/shared/ids';
import { type Actor, recordAudit } from '../../audit/record.ts';
import { runEvent, taskEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import type { Round } from '../rounds.ts';

/**
 * Deletes a finished run of a task that has ended; not the one it ended with, nor while its result is looked at again. The task is locked, so that nobody retries it
 * meanwhile. Answers whether it did.
 */
export async function deleteRun(sql: Sql, fence: number, by?: Actor): Promise<boolean> {
  const rows = await transition(sql, {
    before: {
      task: sql`
        select task_id, owner, closed_status, reset_fence from tasks where task_id = (select task_id from runs where runs.fence = ${fence}) for no key update`,
    },
    change: sql`
      delete from runs r using task t where r.fence = ${fence} and r.task_id = t.task_id
        and not exists (select from leases l where l.task_id = t.task_id)
        and not exists (select from verifications v where v.task_id = t.task_id and v.state = 'REVIEWING')
        and (t.closed_status is not null or exists (select from runs f where f.task_id = t.task_id and f.final and f.fence > t.reset_fence))
        and (r.fence <= t.reset_fence or not r.final and exists (select from runs f where f.task_id = t.task_id and f.fence > r.fence))
      returning r.fence, ${runIdOf(fence)} as subject_id, t.owner, null::jsonb as after,
        jsonb_build_object('task_id', r.task_id, 'agent_id', r.agent_id, 'attempt', r.attempt, 'status', r.status) as before`,
    event: sql.unsafe(runEvent('run.deleted', 'changed')),
    also: { unjudged: sql`delete from verdicts where fence in (select fence from changed)` },
    audit: recordAudit(sql, by, 'run.delete'),
  });
  return rows.length > 0;
}

/** Which tasks to look at. */
export interface Stretch {
  /** Those that ended so long ago may go. */
  olderThanDays: number;
  /** From where on, in the order of their ids, and how many: old and new ones, whether they may go or not. */
  after: string;
  limit: number;
}

export interface Forgotten {
  tasks: number;
  runs: number;
  /** Where to go on; null where nothing older is left. */
  next: string | null;
}

/**
 * The tasks of a stretch that may go: ended, nothing of them runs, all of it long ago, nobody waits for them, and their schedule knows how
 * they ended. The primary key leads to them, oldest first, for nothing was done before it was made: the hot path keeps no index for this.
 * The subqueries are of one task each, whatever the planner thinks of the tables; those on the task's own columns are looked at again on the locked row.
 */
const ripeOf = (sql: Sql, { olderThanDays, after, limit }: Stretch): Record<string, Fragment> => ({
  cutoff: sql`select now - make_interval(days => ${olderThanDays}) as at from clock`,
  walked: sql`select task_id, created_at from tasks where task_id > ${after} order by task_id limit ${limit}`,
  ripe: sql`
    select t.task_id, t.owner, t.run_at, t.expires_at, t.task_timeout_seconds from tasks t
    where t.task_id = any(array(select task_id from walked where created_at < (select at from cutoff)))
      and (t.closed_status is null or t.closed_at < (select at from cutoff))
      and (t.closed_status is not null or (select bool_or(r.final) from runs r where r.task_id = t.task_id and r.fence > t.reset_fence))
      and (select coalesce(max(r.finished_at), '-infinity') from runs r where r.task_id = t.task_id) < (select at from cutoff)
      and (select count(*) from leases l where l.task_id = t.task_id) = 0
      and (select count(*) from verifications v where v.task_id = t.task_id and v.state = 'REVIEWING') = 0
      and (select count(*) from dependencies d where d.needs_task_id = t.task_id) = 0
      and (t.schedule_id is null or (select count(*) from executions e where e.task_id = t.task_id and e.task_status is null) = 0)
    order by t.task_id for no key update of t skip locked`,
});

/** Where to go on after a stretch. */
const next = (sql: Sql, limit: number): Fragment => sql`
  (select last.task_id from (select task_id, created_at from walked order by task_id desc limit 1) last
    where last.created_at < (select at from cutoff) and (select count(*) from walked) = ${limit}) as next`;

/** Deletes what may go of a stretch: tasks with all their runs, and what would remind of their time being over. */
export async function forgetTasks(sql: Sql, stretch: Stretch, by?: Actor): Promise<Forgotten> {
  const [row] = await transition<Forgotten>(sql, {
    before: {
      ...ripeOf(sql, stretch),
      gone: sql`delete from tasks where task_id = any(array(select task_id from ripe)) returning task_id, owner, batch_id`,
      // With its last task.
      gone_batches: sql`
        delete from batches b where b.batch_id = any(array(select batch_id from gone))
          and (select 1 from tasks t where ${inBatchOf(sql)} and t.task_id not in (select task_id from gone) limit 1) is null`,
      gone_runs: sql`delete from runs where task_id = any(array(select task_id from ripe)) returning fence, task_id`,
      // What others found of them: a verdict says nothing without its run.
      unjudged: sql`delete from verdicts where fence = any(array(select fence from gone_runs))`,
      unverified: sql`delete from verifications where task_id = any(array(select task_id from ripe))`,
      unasked: sql`delete from replicas where task_id = any(array(select task_id from ripe))`,
      unlimited: sql`
        delete from expiring where ctid = any(array(
          select found.ctid from ripe cross join lateral (values (ripe.expires_at), (ripe.run_at + make_interval(secs => ripe.task_timeout_seconds))) over(at)
          cross join lateral (select ctid from expiring e where e.expires_at = over.at and e.task_id = ripe.task_id offset 0) found))`,
    },
    // One audit row for each owner of a stretch, not for each task.
    change: sql`
      select 'tasks' as subject_id, owner, null::jsonb as after,
        jsonb_build_object('older_than_days', ${stretch.olderThanDays}::int, 'tasks', count(distinct g.task_id), 'runs', count(r.fence)) as before
      from gone g left join gone_runs r on r.task_id = g.task_id group by owner`,
    event: sql.unsafe(taskEvent('task.deleted', 'gone')),
    also: { told: sql.unsafe(runEvent('run.deleted', 'gone_runs')) },
    audit: recordAudit(sql, by, 'runs.cleanup'),
    answer: sql`
      select (select count(*) from gone)::int as tasks, (select count(*) from gone_runs)::int as runs, ${next(sql, stretch.limit)}`,
  });
  return row!;
}

/** The tasks `t` of a batch `b`, looked for among its ids. */
const inBatchOf = (sql: Sql): Fragment =>
  sql`t.task_id between b.first_task_id and b.last_task_id and t.batch_id = b.batch_id`;

/** Deletes the batches of a stretch that have no task: all were refused, or others stood for them. */
export async function forgetEmptyBatches(sql: Sql, { olderThanDays, after, limit }: Stretch): Promise<Round> {
  const [row] = await sql<[Round]>`
    with cutoff as materialized (select muster_now() - make_interval(days => ${olderThanDays}) as at),
    walked as materialized (select batch_id, first_task_id, last_task_id, created_at < (select at from cutoff) as old from batches where batch_id > ${after} order by batch_id limit ${limit}),
    gone as (
      delete from batches where batch_id = any(array(
        select batch_id from walked b where old and (select 1 from tasks t where ${inBatchOf(sql)} limit 1) is null)) returning batch_id
    )
    select (select count(*) from gone)::int as gone,
      (select batch_id from (select batch_id, old from walked order by batch_id desc limit 1) last where old and (select count(*) from walked) = ${limit}) as next`;
  return row;
}

/** Counts what may go of a stretch. */
export async function countRipe(sql: Sql, stretch: Stretch): Promise<Forgotten> {
  const { cutoff, walked, ripe } = ripeOf(sql, stretch);
  const [row] = await sql<[Forgotten]>`
    with clock as materialized (select muster_now() as now), cutoff as (${cutoff!}), walked as (${walked!}), ripe as (${ripe!})
    select (select count(*) from ripe)::int as tasks,
      (select count(*) from runs where task_id = any(array(select task_id from ripe)))::int as runs, ${next(sql, stretch.limit)}`;
  return row;
}
