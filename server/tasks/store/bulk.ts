import type { TaskStatus } from '@muster/shared/lifecycle';
import type { Fragment, Sql } from '../../platform/database.ts';
import { inBatch } from './batches.ts';

/** Which tasks: those to which all of it applies. */
export interface BulkFilter {
  /** Whose; everybody's unless said. */
  owner: string | undefined;
  status?: TaskStatus | undefined;
  task_type?: string | undefined;
  capability?: string | undefined;
  client_id?: string | undefined;
  tag?: string | undefined;
  metadata?: { key: string; value: string } | undefined;
  batch_id?: string | undefined;
  schedule_id?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

/** What is to be done to them. A priority is not given to those that have it. */
export type Doing = { verb: 'cancel' } | { verb: 'retry' } | { verb: 'prioritise'; priority: number };

/** Where tasks are that something can be done to, as `task_id, status`: what has ended as it should is never looked at. `of`: of one task `t` alone, by keys. */
function placesFor(sql: Sql, doing: Doing, of: boolean): Fragment {
  const own = of ? sql`task_id = t.task_id` : sql`true`;
  const queued = of ? sql`class_id = t.class_id and rank = t.rank and task_id = t.task_id` : sql`true`;
  const waiting = sql`
    select task_id, 'PENDING' as status from ready where ${queued} union all select task_id, 'PENDING' from delayed where ${own}
    union all select task_id, 'PENDING' from gated where ${own}`;
  switch (doing.verb) {
    case 'prioritise':
      return sql`${waiting} union all select task_id, 'BLOCKED' from blocked where ${own} and open > 0`;
    case 'cancel':
      return sql`${waiting} union all select task_id, 'BLOCKED' from blocked where ${own}
        union all select task_id, state from verifications where ${own} and state = 'VERIFYING'
        union all select task_id, case when started_at is null then 'ASSIGNED' else 'RUNNING' end from leases
          where ${own} and replica = 0 and cancel_requested_at is null`;
    case 'retry':
      return sql`
        select r.task_id, case r.status when 'LOST' then 'FAILED' else r.status end as status from runs r
        cross join lateral (select closed_status, reset_fence from tasks where tasks.task_id = r.task_id offset 0) s
        where ${of ? sql`r.task_id = t.task_id` : sql`true`} and r.final and r.status <> 'COMPLETED' and r.fence > s.reset_fence and s.closed_status is null
        union all select task_id, closed_status from tasks where ${of ? sql`tasks.task_id = t.task_id` : sql`true`}
          and closed_status in ('FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED')`;
  }
}

/**
 * Places with their tasks. From task to place or from place to task by keys, whatever the planner thinks of tables that were empty a moment
 * ago: joined by a loop over both, ten thousand took longer than a statement may. A batch knows between which ids its tasks are, and schedules have an index that leads to theirs.
 */
const found = (sql: Sql, doing: Doing, { batch_id, schedule_id }: BulkFilter): Fragment =>
  batch_id || schedule_id
    ? sql`tasks t cross join lateral (${placesFor(sql, doing, true)} offset 0) p`
    : sql`(${placesFor(sql, doing, false)}) p cross join lateral (select * from tasks where tasks.task_id = p.task_id offset 0) t`;

/** The tasks of a filter that something can be done to: how many there are, and the first of them by their ids. */
export async function chooseTasks(
  sql: Sql,
  doing: Doing,
  filter: BulkFilter,
  limit: number,
): Promise<{ matched: number; taskIds: string[] }> {
  const { owner, status, task_type, capability, client_id, tag, metadata, batch_id, schedule_id, from, to } = filter;
  const [row] = await sql<[{ matched: number; task_ids: string[] | null }]>`
    with matching as materialized (
      select t.task_id from ${found(sql, doing, filter)}
      where true ${status ? sql`and p.status = ${status}` : sql``} ${owner === undefined ? sql`` : sql`and t.owner = ${owner}`}
        ${doing.verb === 'prioritise' ? sql`and t.priority <> ${doing.priority}` : sql``}
        ${doing.verb === 'retry' ? sql`and (select count(*) from leases l where l.task_id = t.task_id) = 0` : sql`and t.closed_status is null`}
        ${task_type ? sql`and t.task_type = ${task_type}` : sql``} ${capability ? sql`and t.capability_required = ${capability}` : sql``}
        ${client_id ? sql`and t.client_id = ${client_id}` : sql``} ${tag ? sql`and ${tag} = any(t.tags)` : sql``}
        ${metadata ? sql`and t.metadata ->> ${metadata.key} = ${metadata.value}` : sql``}
        ${batch_id ? sql`and ${inBatch(sql, batch_id, sql`t`)}` : sql``} ${schedule_id ? sql`and t.schedule_id = ${schedule_id}` : sql``}
        ${from ? sql`and t.created_at >= ${from}::timestamptz` : sql``} ${to ? sql`and t.created_at < ${to}::timestamptz` : sql``}
    )
    select (select count(*) from matching)::int as matched,
      (select array_agg(task_id order by task_id) from (select task_id from matching order by task_id limit ${limit}) first) as task_ids`;
  return { matched: row.matched, taskIds: row.task_ids ?? [] };
}
