import type { Json } from '@muster/shared/contract/fields';
import type { ExecutionStatus } from '@muster/shared/contract/schedules';
import type { TaskStatus } from '@muster/shared/lifecycle';
import type { Fragment, Sql } from '../../platform/database.ts';

export interface ExecutionRow {
  execution_id: string;
  schedule_id: string;
  status: ExecutionStatus;
  reason: string | null;
  scheduled_at: Date;
  until: Date | null;
  count: number;
  fired_at: Date | null;
  lateness_ms: number | null;
  execution_number: number | null;
  task_id: string | null;
  task_status: TaskStatus | null;
  result_data: Json;
  error: Json;
}

/** Executions with how their tasks are doing. */
const executionsOf = (sql: Sql, which: Fragment) => sql<ExecutionRow[]>`
  select e.execution_id, e.schedule_id, e.status, e.reason, e.scheduled_at, e.until, e.count, e.fired_at,
    case when e.status = 'FIRED' then coalesce(e.lateness_ms, round(extract(epoch from e.fired_at - e.scheduled_at) * 1000)::float8) end as lateness_ms, e.execution_number,
    e.task_id, coalesce(s.status, e.task_status) as task_status, r.result_data, r.error
  from executions e
  left join lateral (select status, final_fence from task_state where task_id = e.task_id offset 0) s on true
  left join runs r on r.fence = s.final_fence
  where ${which}`;

export interface ExecutionFilter {
  scheduleId: string;
  status?: ExecutionStatus | undefined;
  from?: string | undefined;
  to?: string | undefined;
  after: string | undefined;
  limit: number;
}

/** What happened at each due time, newest first. Of a gap any part may be in the range that is asked for. */
export function listExecutions(
  sql: Sql,
  { scheduleId, status, from, to, after, limit }: ExecutionFilter,
): Promise<ExecutionRow[]> {
  return executionsOf(
    sql,
    sql`e.schedule_id = ${scheduleId} ${after ? sql`and e.execution_id < ${after}` : sql``} ${status ? sql`and e.status = ${status}` : sql``}
      ${from ? sql`and coalesce(e.until, e.scheduled_at) >= ${from}::timestamptz` : sql``} ${to ? sql`and e.scheduled_at < ${to}::timestamptz` : sql``}
    order by e.execution_id desc limit ${limit}`,
  );
}

export async function findExecution(sql: Sql, executionId: string): Promise<ExecutionRow | undefined> {
  const [row] = await executionsOf(sql, sql`e.execution_id = ${executionId}`);
  return row;
}

/** The executions that somebody asked for together, of which one made this task: in order. */
export async function listAsked(sql: Sql, taskId: string): Promise<string[]> {
  const rows = await sql<{ execution_id: string }[]>`
    select e.execution_id from executions one
    join executions e on e.schedule_id = one.schedule_id and e.status = one.status and e.fired_at = one.fired_at and e.execution_number >= one.execution_number
    where one.task_id = ${taskId} order by e.execution_number`;
  return rows.map((row) => row.execution_id);
}

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
