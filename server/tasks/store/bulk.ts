import type { TaskStatus } from '@muster/shared/lifecycle';
import type { Fragment, Sql } from '../../platform/database.ts';

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

/** Where tasks are that something can be done to, as `task_id, status`: what has ended as it should is never looked at. */
function placesFor(sql: Sql, doing: Doing): Fragment {
  const waiting = sql`
    select task_id, 'PENDING' as status from ready union all select task_id, 'PENDING' from delayed union all select task_id, 'PENDING' from gated`;
  switch (doing.verb) {
    case 'prioritise':
      return sql`${waiting} union all select task_id, 'BLOCKED' from blocked where open > 0`;
    case 'cancel':
      return sql`${waiting} union all select task_id, 'BLOCKED' from blocked
        union all select task_id, case when started_at is null then 'ASSIGNED' else 'RUNNING' end from leases where replica = 0 and cancel_requested_at is null`;
    case 'retry':
      return sql`
        select r.task_id, case r.status when 'LOST' then 'FAILED' else r.status end as status from runs r join tasks t on t.task_id = r.task_id
        where r.final and r.status <> 'COMPLETED' and r.fence > t.reset_fence and t.closed_status is null
        union all select task_id, closed_status from tasks where closed_status in ('FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED')`;
  }
}

/** The tasks of a filter that something can be done to: how many there are, and the first of them by their ids. */
export async function chooseTasks(
  sql: Sql,
  doing: Doing,
  { owner, status, task_type, capability, client_id, tag, metadata, batch_id, schedule_id, from, to }: BulkFilter,
  limit: number,
): Promise<{ matched: number; taskIds: string[] }> {
  const [row] = await sql<[{ matched: number; task_ids: string[] | null }]>`
    with places as (${placesFor(sql, doing)}),
    matching as materialized (
      select t.task_id from places p join tasks t on t.task_id = p.task_id
      where true ${status ? sql`and p.status = ${status}` : sql``} ${owner === undefined ? sql`` : sql`and t.owner = ${owner}`}
        ${doing.verb === 'prioritise' ? sql`and t.priority <> ${doing.priority}` : sql``}
        ${doing.verb === 'retry' ? sql`and not exists (select from leases l where l.task_id = t.task_id)` : sql`and t.closed_status is null`}
        ${task_type ? sql`and t.task_type = ${task_type}` : sql``} ${capability ? sql`and t.capability_required = ${capability}` : sql``}
        ${client_id ? sql`and t.client_id = ${client_id}` : sql``} ${tag ? sql`and ${tag} = any(t.tags)` : sql``}
        ${metadata ? sql`and t.metadata ->> ${metadata.key} = ${metadata.value}` : sql``}
        ${batch_id ? sql`and t.batch_id = ${batch_id}` : sql``} ${schedule_id ? sql`and t.schedule_id = ${schedule_id}` : sql``}
        ${from ? sql`and t.created_at >= ${from}::timestamptz` : sql``} ${to ? sql`and t.created_at < ${to}::timestamptz` : sql``}
    )
    select (select count(*) from matching)::int as matched,
      (select array_agg(task_id order by task_id) from (select task_id from matching order by task_id limit ${limit}) first) as task_ids`;
  return { matched: row.matched, taskIds: row.task_ids ?? [] };
}
