import type { Fragment, Sql } from '../../platform/database.ts';
import type { ScheduleRow } from './schedules.ts';

/** Schedules that have a tag. */
export interface Tagged {
  /** Whose; everybody's unless said. */
  owner: string | undefined;
  tag: string;
  status: 'ACTIVE' | 'PAUSED';
}

const tagged = (sql: Sql, { owner, tag, status }: Tagged): Fragment =>
  sql`status = ${status} and tags @> array[${tag}]::text[] ${owner === undefined ? sql`` : sql`and owner = ${owner}`}`;

export async function countTagged(sql: Sql, filter: Tagged): Promise<number> {
  const [row] = await sql<
    [{ count: number }]
  >`select count(*)::int as count from schedules where ${tagged(sql, filter)}`;
  return row.count;
}

export const listTagged = (sql: Sql, filter: Tagged, limit: number): Promise<ScheduleRow[]> =>
  sql<ScheduleRow[]>`select * from schedules where ${tagged(sql, filter)} order by schedule_id limit ${limit}`;
