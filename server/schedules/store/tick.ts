import type { Json } from '@muster/shared/contract/fields';
import type { Fragment, Sql } from '../../platform/database.ts';
import type { ScheduleRow } from './schedules.ts';

/** What has to be known of a schedule to plan what it makes. */
export type Planned = Pick<
  ScheduleRow,
  | 'schedule_id'
  | 'owner'
  | 'status'
  | 'version'
  | 'cron_expression'
  | 'interval_seconds'
  | 'phase_seconds'
  | 'at'
  | 'timezone'
  | 'dst'
  | 'exclude'
  | 'starts_at'
  | 'ends_at'
  | 'next_run_at'
  | 'jitter_ms'
  | 'jitter_seconds'
  | 'overlap'
  | 'catch_up_seconds'
  | 'misfire'
  | 'max_runs'
  | 'total_runs'
  | 'capability_required'
  | 'labels_required'
  | 'labels_preferred'
  | 'slot_cost'
  | 'verification'
  | 'min_trust'
  | 'min_integrity'
  | 'routing'
> & {
  now: Date;
  /** Its tasks that have not ended, newest first: as many as its overlap policy asks about. */
  open: string[];
  /** `input_data`, where it may have variables. */
  template: { input_data: Json; last_result: Json } | null;
};

const COLUMNS = [
  'schedule_id',
  'owner',
  'status',
  'version',
  'cron_expression',
  'interval_seconds',
  'phase_seconds',
  'at',
  'timezone',
  'dst',
  'exclude',
  'starts_at',
  'ends_at',
  'next_run_at',
  'jitter_ms',
  'jitter_seconds',
  'overlap',
  'catch_up_seconds',
  'misfire',
  'max_runs',
  'total_runs',
  'capability_required',
  'labels_required',
  'labels_preferred',
  'slot_cost',
  'verification',
  'min_trust',
  'min_integrity',
  'routing',
] as const satisfies (keyof Planned)[];

/** How many open tasks one statement looks at, and cancels. */
const OPEN = 100;

/** Whether the time of any schedule has come. */
export const TO_FIRE = `exists (select from schedules where status = 'ACTIVE' and fire_at <= (select now from clock))`;

/** Schedules whose time has come, longest overdue first. */
export const listDue = (sql: Sql, limit: number): Promise<Planned[]> =>
  plannedOf(sql, sql`status = 'ACTIVE' and fire_at <= (select now from clock) order by fire_at limit ${limit}`);

/** A schedule, whatever its status. */
export async function findPlanned(sql: Sql, scheduleId: string): Promise<Planned | undefined> {
  const [row] = await plannedOf(sql, sql`schedule_id = ${scheduleId}`);
  return row;
}

/**
 * How their tasks are doing is read off the tasks themselves, starting from the executions whose outcome has not come home yet. The subqueries are of
 * one schedule each, whatever the planner thinks of the tables; `offset 0` keeps it from looking for the last result of those that ask for none.
 */
async function plannedOf(sql: Sql, which: Fragment): Promise<Planned[]> {
  const tasksOf = sql`
    select e.task_id, e.execution_id, k.status from executions e
    cross join lateral (select status from task_state where task_state.task_id = e.task_id offset 0) k
    where e.schedule_id = s.schedule_id and e.task_id is not null and e.task_status is null`;
  return sql<Planned[]>`
    with clock as materialized (select muster_now() as now), s as materialized (select * from schedules where ${which})
    select ${sql(COLUMNS)}, now, coalesce(o.open, '{}') as open, case when t.has then json_build_object('input_data', input_data, 'last_result', r.result_data) end as template
    from s cross join clock
    cross join lateral (select strpos(input_data::text, '{{') > 0 as has, strpos(input_data::text, 'last_result') > 0 as asks offset 0) t
    left join lateral (
      select array_agg(task_id order by execution_id desc) as open from (
        select * from (${tasksOf}) x where status not in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED', 'SKIPPED') order by execution_id desc
        limit case s.overlap when 'ALLOW_ALL' then 0 when 'CANCEL_OTHER' then ${OPEN} else 2 end
      ) newest
    ) o on true
    left join lateral (
      select coalesce((select x.task_id from (${tasksOf}) x where status = 'COMPLETED' order by execution_id desc limit 1), s.last_completed_task_id) as task_id
      where t.has and t.asks offset 0
    ) l on true
    left join lateral (select result_data from runs where runs.task_id = l.task_id and final order by fence desc limit 1) r on true`;
}
