import type { Fragment, Sql } from '../../platform/database.ts';
import type { Gap } from '../gap.ts';

/** Due times of schedules that passed and made nothing, and why. */
export type SkippedGaps = readonly (Gap & { schedule_id: string; execution_id: string; reason: string })[];

/** The gaps as rows: a part that comes before the change of a transition, which counts `skipped` by it. */
export const gapRows = (sql: Sql, gaps: SkippedGaps): Fragment => sql`
  select * from json_to_recordset(${JSON.stringify(gaps)}::text::json)
  as g(schedule_id text, execution_id text, reason text, scheduled_at timestamptz, until timestamptz, count int)`;

/** How many due times of a schedule `s` are in the gaps. */
export const skippedOf = (sql: Sql): Fragment =>
  sql`coalesce((select sum(count)::int from gaps where gaps.schedule_id = s.schedule_id), 0)`;

/** Their executions and the event, for the schedules that did change. */
export const recordGaps = (sql: Sql): Record<string, Fragment> => ({
  skipped: sql`
    insert into executions (execution_id, schedule_id, status, reason, scheduled_at, until, count)
    select execution_id, schedule_id, 'SKIPPED', reason, scheduled_at, until, count from gaps where schedule_id in (select subject_id from changed)
    on conflict do nothing returning *`,
  skipped_told: sql`
    insert into events (tx, at, kind, subject_ids, detail)
    select pg_current_xact_id(), (select now from clock), 'schedule.skipped', array_agg(schedule_id), jsonb_agg(jsonb_strip_nulls(
      jsonb_build_object('execution_id', execution_id, 'scheduled_at', scheduled_at, 'reason', reason, 'until', until, 'count', count)))
    from skipped having count(*) > 0`,
});
