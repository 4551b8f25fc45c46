import { ensureReader, readEvents, toRead } from '../../events/store.ts';
import type { Fragment, Sql } from '../../platform/database.ts';

const READER = 'schedules.outcomes';

/** Starts reading how tasks end. */
export const ensureOutcomeReader = (sql: Sql): Promise<void> => ensureReader(sql, READER);

/** Whether anything has happened since. */
export const TO_BRING_HOME = toRead(READER);

/** Executions whose task has not been known to end. */
const OPEN = 'task_id is not null and task_status is null';

/**
 * Those of them that a batch of events may be about. Where fewer are open than runs have finished, all of them are looked at; otherwise those of the runs.
 * So a network pays for the outcomes of its schedules, and not for every task that ends.
 */
const candidates = (sql: Sql): Fragment => sql`
  select x.execution_id, x.task_id, x.task_status as was from executions x where ${sql.unsafe(OPEN)} and (select few from size)
  union
  select x.execution_id, x.task_id, x.task_status as was from batch b cross join lateral unnest(b.fences) f(fence)
    cross join lateral (select r.task_id from runs r where r.fence = f.fence and r.final offset 0) r
    cross join lateral (select e.execution_id, e.task_id, e.task_status from executions e where e.task_id = r.task_id and e.task_status is null offset 0) x
  where not (select few from size)
  union
  select x.execution_id, x.task_id, x.task_status as was from batch b cross join lateral unnest(b.subject_ids) s(id)
    cross join lateral (select e.execution_id, e.task_id, e.task_status from executions e where e.task_id = s.id and e.task_status is null offset 0) x
  where not (select few from size)
  union
  -- What a person has queued again has an outcome no more, until it has another.
  select x.execution_id, x.task_id, x.task_status as was from batch b cross join lateral unnest(b.subject_ids) s(id)
    cross join lateral (select e.execution_id, e.task_id, e.task_status from executions e where e.task_id = s.id and e.task_status is not null offset 0) x
  where b.kind = 'task.retried'`;

const ENDED = `s.status in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED', 'SKIPPED')`;

/** Brings the outcomes of scheduled tasks home: to the execution, and to the schedule, which pauses after so many failures in a row. Answers how many events it read. */
export const applyOutcomes = (sql: Sql): Promise<number> =>
  readEvents(sql, {
    reader: READER,
    kinds: [
      'run.finished',
      'task.cancelled',
      'task.expired',
      'task.dependency_failed',
      'task.retried',
      'task.verified',
      'task.accepted',
      'task.disputed',
    ],
    apply: sql`
      with told as materialized (select coalesce(sum(cardinality(fences)), 0) as n from batch),
      size as materialized (select (select count(*) from (select from executions where ${sql.unsafe(OPEN)} limit (select n + 1 from told)) o) <= (select n from told) as few),
      ended as (
        select c.execution_id, case when ${sql.unsafe(ENDED)} then s.status end as status, s.finished_at, c.was from (${candidates(sql)}) c
        cross join lateral (select status, finished_at from task_state where task_state.task_id = c.task_id offset 0) s
      )
      update executions e set task_status = ended.status from ended
      where e.execution_id = ended.execution_id and e.task_status is not distinct from ended.was and ended.status is distinct from ended.was
      returning e.schedule_id, e.task_id, ended.status, ended.finished_at, ended.was`,
    also: { home: home(sql), locked: locked(sql), counted: counted(sql), told: told(sql) },
  });

/** What came home to each schedule: its failures less those taken back, those after the last task that was COMPLETED, and that task. */
const home = (sql: Sql): Fragment => sql`
  select schedule_id, (count(*) filter (where failed) - count(*) filter (where was in ('FAILED', 'TIMED_OUT')))::int as failed, max(completed_at) is not null as completed, max(task_id) filter (where status = 'COMPLETED') as last_completed,
    count(*) filter (where failed and (completed_at is null or finished_at > completed_at))::int as in_a_row
  from (
    select *, status in ('FAILED', 'TIMED_OUT') as failed, max(finished_at) filter (where status = 'COMPLETED') over (partition by schedule_id) as completed_at from applied
  ) a group by schedule_id`;

const locked = (sql: Sql): Fragment => sql`
  select s.schedule_id, n.consecutive, s.status = 'ACTIVE' and h.in_a_row > 0 and n.consecutive >= s.pause_on_failure as pauses
  from schedules s join home h on h.schedule_id = s.schedule_id
  cross join lateral (select h.in_a_row + case when h.completed then 0 else s.consecutive_failures end as consecutive) n
  where s.schedule_id = any(array(select schedule_id from home)) order by s.schedule_id for no key update of s`;

const counted = (sql: Sql): Fragment => sql`
  update schedules s set failed_runs = s.failed_runs + h.failed, consecutive_failures = l.consecutive,
    last_completed_task_id = greatest(s.last_completed_task_id, h.last_completed),
    status = case when l.pauses then 'PAUSED' else s.status end, version = s.version + coalesce(l.pauses, false)::int,
    paused_from = case when l.pauses then s.next_run_at else s.paused_from end, next_run_at = case when l.pauses then null else s.next_run_at end,
    pause_note = case when l.pauses then l.consecutive || ' failures in a row' else s.pause_note end, updated_at = case when l.pauses then (select now from clock) else s.updated_at end
  from home h join locked l on l.schedule_id = h.schedule_id
  where s.schedule_id = any(array(select schedule_id from locked)) and s.schedule_id = h.schedule_id
  returning s.schedule_id, l.pauses, l.consecutive`;

const told = (sql: Sql): Fragment => sql`
  insert into events (tx, at, kind, subject_ids, detail)
  select pg_current_xact_id(), (select now from clock), 'schedule.paused', array_agg(schedule_id), jsonb_agg(jsonb_build_object('to', 'PAUSED', 'failures', consecutive))
  from counted where pauses having count(*) > 0`;
