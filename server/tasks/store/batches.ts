import type { TaskStatus } from '@muster/shared/lifecycle';
import type { Fragment, Sql } from '../../platform/database.ts';

/** What became of a member of a batch that is no task of it: a task that stands for it, or a problem. */
export interface Other {
  index: number;
  task_id?: string;
  problem?: { code: string; detail: string; errors?: { pointer: string; detail: string }[] };
}

export interface BatchRow {
  batch_id: string;
  owner: string;
  atomic: boolean;
  size: number;
  others: Other[];
  created_at: Date;
}

export async function findBatch(sql: Sql, batchId: string): Promise<BatchRow | undefined> {
  const [row] = await sql<BatchRow[]>`
    select batch_id, owner, atomic, size, others, created_at from batches where batch_id = ${batchId}`;
  return row;
}

export async function ownerOfBatch(sql: Sql, batchId: string): Promise<string | undefined> {
  const [row] = await sql<{ owner: string }[]>`select owner from batches where batch_id = ${batchId}`;
  return row?.owner;
}

/**
 * Of rows of `tasks`: those of a batch. Of nearly all between its ids it is the batch, which the planner cannot know: asked plainly it takes a thousand
 * for four, and each is compared with all that an agent has done. So it is asked in words of which it has no figures.
 */
export const inBatch = (sql: Sql, batchId: string, t = sql`tasks`): Fragment => sql`
  ${t}.task_id between (select first_task_id from batches where batch_id = ${batchId}) and (select last_task_id from batches where batch_id = ${batchId})
    and case ${t}.batch_id when ${batchId} then true end`;

/** The tasks of a batch, and those that stand for members of it, as they are now. */
export async function statesOfBatch(
  sql: Sql,
  { batch_id, others }: Pick<BatchRow, 'batch_id' | 'others'>,
): Promise<{ task_id: string; index: number | null; status: TaskStatus }[]> {
  const standing = others.flatMap(({ task_id }) => task_id ?? []);
  return sql<{ task_id: string; index: number | null; status: TaskStatus }[]>`
    select t.task_id, case when t.batch_id = ${batch_id} then t.batch_index end as index, s.status
    from (
      select task_id, batch_id, batch_index from tasks where ${inBatch(sql, batch_id)}
      union select task_id, batch_id, batch_index from tasks where task_id = any(${standing}::text[])
    ) t
    cross join lateral (select status from task_state where task_state.task_id = t.task_id offset 0) s`;
}

export async function countByStatus(sql: Sql, batchId: string): Promise<{ status: TaskStatus; n: number }[]> {
  return sql<{ status: TaskStatus; n: number }[]>`
    select s.status, count(*)::int as n
    from tasks t cross join lateral (select status from task_state where task_state.task_id = t.task_id offset 0) s
    where ${inBatch(sql, batchId, sql`t`)} group by 1 order by 1`;
}

/** How many characters of results a page holds, or one result. */
const PAGE_CHARACTERS = 4_000_000;

/** A task of a batch with what came of it, as JSON text. `fits`: it has room on the page. */
export interface BatchResultRow {
  index: number;
  task_id: string;
  status: TaskStatus;
  closed_reason: string | null;
  closed_code: string | null;
  finality: 'provisional' | 'verified' | null;
  result_version: number;
  result_data: string | null;
  error: string | null;
  fits: boolean;
}

/** The tasks of a batch from behind `after` on, in the order of their indexes. */
export async function listBatchResults(
  sql: Sql,
  batchId: string,
  after: number,
  limit: number,
): Promise<BatchResultRow[]> {
  return sql<BatchResultRow[]>`
    with found as materialized (
      select t.batch_index, t.task_id, s.status, s.closed_reason, s.closed_code, s.finality, s.result_version, r.result_data::text, r.error::text
      from (select * from tasks where ${inBatch(sql, batchId)} and batch_index > ${after} order by batch_index limit ${limit}) t
      cross join lateral (select status, closed_reason, closed_code, finality, result_version, final_fence from task_state where task_state.task_id = t.task_id offset 0) s
      left join lateral (select result_data, error from runs where runs.fence = s.final_fence offset 0) r on true
    ),
    measured as (
      select *, coalesce(sum(coalesce(length(result_data), 0) + coalesce(length(error), 0))
        over (order by batch_index rows between unbounded preceding and 1 preceding), 0) < ${PAGE_CHARACTERS} as fits from found
    )
    select batch_index as index, task_id, status, closed_reason, closed_code, finality, result_version, fits,
      case when fits then result_data end as result_data, case when fits then error end as error
    from measured order by batch_index`;
}
