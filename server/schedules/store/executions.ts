import type { Sql } from '../../platform/database.ts';

/**
 * Deletes executions of a stretch, in the order of their ids, that are older than so many days, their outcome known. Answers how many, and
 * where to go on; null where nothing older is left.
 */
export async function forgetExecutions(
  sql: Sql,
  { olderThanDays, after, limit }: { olderThanDays: number; after: string; limit: number },
): Promise<{ gone: number; next: string | null }> {
  const [row] = await sql<[{ gone: number; next: string | null }]>`
    with cutoff as materialized (select muster_now() - make_interval(days => ${olderThanDays}) as at),
    walked as materialized (
      select execution_id, coalesce(fired_at, until, scheduled_at) as at, task_id is null or task_status is not null as known
      from executions where execution_id > ${after} order by execution_id limit ${limit}
    ),
    gone as (
      delete from executions where execution_id = any(array(select execution_id from walked where known and at < (select at from cutoff))) returning execution_id
    )
    select (select count(*) from gone)::int as gone, (
      select last.execution_id from (select execution_id, at from walked order by execution_id desc limit 1) last
      where last.at < (select at from cutoff) and (select count(*) from walked) = ${limit}
    ) as next`;
  return row;
}

/** Deletes schedules that were deleted so many days ago, once nothing is left of what they did. Answers how many. */
export async function forgetSchedules(sql: Sql, olderThanDays: number, limit: number): Promise<number> {
  const { count } = await sql`
    with cutoff as materialized (select muster_now() - make_interval(days => ${olderThanDays}) as at)
    delete from schedules where schedule_id = any(array(
      select schedule_id from schedules s where status = 'DELETED' and updated_at < (select at from cutoff)
        and not exists (select from executions e where e.schedule_id = s.schedule_id) and not exists (select from tasks t where t.schedule_id = s.schedule_id)
      limit ${limit}))`;
  return count;
}
