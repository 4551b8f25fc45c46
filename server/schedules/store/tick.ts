import { ensureReader, readEvents } from '../../events/store.ts';
import type { Sql } from '../../platform/database.ts';

export interface DueSchedule {
  schedule_id: string;
  owner: string;
  capability_required: string;
  cron_expression: string;
  timezone: string;
  next_run_at: Date;
  version: number;
  now: Date;
}

/** Schedules whose time has come, longest overdue first. */
export async function listDue(sql: Sql, limit: number): Promise<DueSchedule[]> {
  return sql<DueSchedule[]>`
    with clock as materialized (select muster_now() as now)
    select schedule_id, owner, capability_required, cron_expression, timezone, next_run_at, version, now
    from clock, schedules where status = 'ACTIVE' and next_run_at <= (select now from clock) order by next_run_at limit ${limit}`;
}

/** A due time and what firing it makes. `following` is null where the schedule has no further time. */
export interface Firing {
  schedule_id: string;
  version: number;
  scheduled_at: Date;
  following: Date | null;
  class_id: number;
  execution_id: string;
  task_id: string;
}

/**
 * Fires due times: the schedule moves on by compare-and-swap on (next_run_at, version), and only where it did are the
 * execution and the task made, all in one statement. So each due time fires once however many coordinators see it; one that has its execution already is passed over.
 * Answers the classes there is now work of.
 */
export async function fireSchedules(
  sql: Sql,
  firings: readonly Firing[],
): Promise<{ task_id: string; class_id: number }[]> {
  const column = <K extends keyof Firing>(name: K) => firings.map((firing) => firing[name]);
  const times = (values: (Date | null)[]) => values.map((value) => value?.toISOString() ?? null);
  const rows = await sql<{ task_id: string; class_id: string }[]>`
    with clock as materialized (select muster_now() as now),
    x as materialized (
      select * from unnest(${column('schedule_id')}::text[], ${column('version')}::int[], ${times(column('scheduled_at'))}::timestamptz[], ${times(column('following'))}::timestamptz[],
        ${column('class_id')}::bigint[], ${column('execution_id')}::text[], ${column('task_id')}::text[])
      as x(schedule_id, version, scheduled_at, following, class_id, execution_id, task_id)
    ),
    held as materialized (
      select s.schedule_id from schedules s where s.schedule_id = any(${column('schedule_id')}::text[]) order by s.schedule_id for no key update skip locked
    ),
    moved as (
      update schedules s set next_run_at = x.following, status = case when x.following is null then 'ENDED' else 'ACTIVE' end,
        last_run_at = x.scheduled_at, total_runs = s.total_runs + 1, updated_at = (select now from clock)
      from x where s.schedule_id = x.schedule_id and s.schedule_id in (select schedule_id from held)
        and s.next_run_at = x.scheduled_at and s.version = x.version and s.status = 'ACTIVE'
      returning s.*, x.scheduled_at, x.class_id, x.execution_id, x.task_id
    ),
    fired as (
      insert into executions (execution_id, schedule_id, status, scheduled_at, fired_at, task_id)
      select execution_id, schedule_id, 'FIRED', scheduled_at, now, task_id from moved, clock
      on conflict do nothing returning execution_id
    ),
    due as materialized (select * from moved where execution_id in (select execution_id from fired)),
    made as (
      insert into tasks (task_id, class_id, owner, client_id, task_type, capability_required, input_data, priority, rank, timeout_seconds, max_retries, retry_policy,
        tags, metadata, schedule_id, run_at, created_at)
      select task_id, class_id, owner, client_id, task_type, capability_required, input_data, priority, scheduled_at - priority * interval '5 minutes', timeout_seconds,
        max_retries, retry_policy, tags, metadata, schedule_id, scheduled_at, now from due, clock
    ),
    queued as (
      insert into ready (class_id, rank, task_id, replica, attempt, failures)
      select class_id, scheduled_at - priority * interval '5 minutes', task_id, 0, 0, 0 from due
    ),
    event as (
      insert into events (tx, at, kind, subject_ids, detail)
      select pg_current_xact_id(), (select now from clock), 'schedule.fired', array_agg(schedule_id), jsonb_agg(jsonb_build_object('task_id', task_id, 'scheduled_at', scheduled_at))
      from due having count(*) > 0
    )
    select task_id, class_id from due`;
  return rows.map((row) => ({ ...row, class_id: Number(row.class_id) }));
}

const READER = 'schedules.outcomes';

/** Starts reading how tasks end. */
export const ensureOutcomeReader = (sql: Sql): Promise<void> => ensureReader(sql, READER);

/** Brings the outcomes of scheduled tasks home: to the execution, and to the schedule's count of failures. */
export const applyOutcomes = (sql: Sql): Promise<number> =>
  readEvents(sql, {
    reader: READER,
    kinds: ['run.finished', 'task.cancelled', 'task.expired'],
    apply: sql`
      update executions e set task_status = o.status from (
        select s.task_id, s.status from (
          select r.task_id from batch b cross join lateral unnest(b.fences) f(fence) join runs r on r.fence = f.fence where r.final
          union select id from batch b cross join lateral unnest(b.subject_ids) s(id)
        ) ended cross join lateral (select task_id, status from task_state where task_state.task_id = ended.task_id and schedule_id is not null offset 0) s
        where s.status in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED')
      ) o where e.task_id = o.task_id and e.task_status is null returning e.schedule_id, o.status`,
    also: {
      counted: sql`
        update schedules s set failed_runs = s.failed_runs + f.n from (
          select schedule_id, count(*)::int as n from applied where status in ('FAILED', 'TIMED_OUT') group by 1
        ) f where s.schedule_id = f.schedule_id`,
    },
  });
