import type { Json } from '@muster/shared/contract/fields';
import { type Actor, recordAudit } from '../../audit/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { SUMMARY, type TaskRow } from './read.ts';
import { retryTasks } from './reopen.ts';

export interface DeadLetterFilter {
  /** Whose; everybody's unless said. */
  owner: string | undefined;
  task_type?: string | undefined;
  capability?: string | undefined;
  agent_id?: string | undefined;
  error_code?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

/** Which page, or how many: by when they ended, and by id where that was in the same moment. */
interface Walk {
  order: 'asc' | 'desc';
  before?: readonly string[] | undefined;
  /** All of them unless said. */
  limit?: number;
}

/**
 * The dead letters a filter finds, as `task_id, ended_at`: tasks whose last run failed them, and tasks whose whole time was
 * over while they waited or whose answers nobody could decide between. Each kind is walked in the order of its index, so a page costs what it shows.
 */
function deadLetters(sql: Sql, filter: DeadLetterFilter, { order, before, limit }: Walk): Fragment {
  const { owner, task_type, capability, agent_id, error_code, from, to } = filter;
  const by = order === 'asc' ? sql`order by ended_at, task_id` : sql`order by ended_at desc, task_id desc`;
  const page = limit === undefined ? sql`` : sql`${by} limit ${limit}`;
  const ofTask = sql`${owner === undefined ? sql`` : sql`and t.owner = ${owner}`}
    ${task_type ? sql`and t.task_type = ${task_type}` : sql``} ${capability ? sql`and t.capability_required = ${capability}` : sql``}`;
  const within = (
    at: Fragment,
    id: Fragment,
  ) => sql`${from ? sql`and ${at} >= ${from}::timestamptz` : sql``} ${to ? sql`and ${at} < ${to}::timestamptz` : sql``}
    ${before ? sql`and (${at}, ${id}) < (${before[0]!}::timestamptz, ${before[1]!})` : sql``}`;
  return sql`
    select task_id, ended_at from (
      (select r.task_id, r.finished_at as ended_at from runs r join tasks t on t.task_id = r.task_id
        where r.final and r.status <> 'COMPLETED' and r.fence > t.reset_fence and t.closed_status is null ${ofTask}
          ${within(sql`r.finished_at`, sql`r.task_id`)} ${agent_id ? sql`and r.agent_id = ${agent_id}` : sql``}
          ${error_code ? sql`and r.error ->> 'code' = ${error_code}` : sql``} ${page})
      union all
      (select t.task_id, t.closed_at as ended_at from tasks t
        where (t.closed_status = 'TIMED_OUT' or t.closed_code is not null) ${ofTask} ${within(sql`t.closed_at`, sql`t.task_id`)}
          ${error_code ? sql`and t.closed_code = ${error_code}` : sql``}
          ${agent_id ? sql`and ${agent_id} = (select agent_id from runs where runs.task_id = t.task_id and runs.fence > t.reset_fence order by fence desc limit 1)` : sql``} ${page})
    ) d ${page}`;
}

export type DeadLetterRow = TaskRow & { error: Json };

/** Dead letters, the last to end first. */
export async function listDeadLetters(
  sql: Sql,
  { before, limit, ...filter }: DeadLetterFilter & { before: readonly string[] | undefined; limit: number },
): Promise<DeadLetterRow[]> {
  return sql<DeadLetterRow[]>`
    with dead (dead_id, ended_at) as materialized (${deadLetters(sql, filter, { order: 'desc', before, limit })})
    select ${sql(SUMMARY)}, coalesce(r.error, case when closed_reason is not null then jsonb_strip_nulls(jsonb_build_object('code', closed_code, 'message', closed_reason)) end) as error
    from dead cross join lateral (select * from task_state where task_state.task_id = dead_id offset 0) s
    left join lateral (select error from runs where runs.fence = s.final_fence) r on true
    order by ended_at desc, dead_id desc`;
}

export async function countDeadLetters(sql: Sql, filter: DeadLetterFilter): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from (${deadLetters(sql, filter, { order: 'asc' })}) d`;
  return row!.n;
}

/** Queues dead letters again, those first that ended first, as a retry of each would. Answers the class of each. */
export async function retryDeadLetters(
  sql: Sql,
  filter: DeadLetterFilter,
  limit: number,
  by?: Actor,
): Promise<number[]> {
  const chosen = deadLetters(sql, filter, { order: 'asc', limit });
  const rows = await retryTasks(sql, { chosen, ended: ['FAILED', 'TIMED_OUT'] }, recordAudit(sql, by, 'task.retry'));
  return rows.map((row) => row.class_id);
}
