import type { Json } from '@muster/shared/contract/fields';
import { SCHEDULE, type ScheduleStatus, statesAllowing, type TaskStatus } from '@muster/shared/lifecycle';
import { and, arrayContains, desc, eq, lt, ne } from 'drizzle-orm';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { schedules } from '../../schema/schedules.ts';

export type ScheduleRow = typeof schedules.$inferSelect;

export interface NewSchedule
  extends Pick<
    ScheduleRow,
    | 'schedule_id'
    | 'owner'
    | 'client_id'
    | 'cron_expression'
    | 'timezone'
    | 'description'
    | 'task_type'
    | 'capability_required'
    | 'priority'
    | 'timeout_seconds'
    | 'max_retries'
    | 'retry_policy'
    | 'tags'
  > {
  input_data: string;
  metadata: string;
  next_run_at: Date;
}

export async function insertSchedule(sql: Sql, it: NewSchedule): Promise<void> {
  await transition(sql, {
    change: sql`
      insert into schedules (schedule_id, owner, client_id, status, cron_expression, timezone, description, task_type, capability_required, input_data, priority,
        timeout_seconds, max_retries, retry_policy, tags, metadata, next_run_at, created_at, updated_at)
      select ${it.schedule_id}, ${it.owner}, ${it.client_id}, 'ACTIVE', ${it.cron_expression}, ${it.timezone}, ${it.description}, ${it.task_type},
        ${it.capability_required}, ${it.input_data}::text::json, ${it.priority}, ${it.timeout_seconds}, ${it.max_retries}, ${it.retry_policy}, ${it.tags}::text[],
        ${it.metadata}::text::jsonb, ${it.next_run_at}, now, now from clock
      returning schedule_id as subject_id, null::jsonb as detail`,
    event: recordEvent(sql, 'schedule.created'),
  });
}

export async function findSchedule(orm: PostgresJsDatabase, id: string): Promise<ScheduleRow | undefined> {
  const [row] = await orm.select().from(schedules).where(eq(schedules.schedule_id, id));
  return row;
}

export interface ScheduleFilter {
  status?: ScheduleStatus | undefined;
  client_id?: string | undefined;
  task_type?: string | undefined;
  tag?: string | undefined;
  after?: string | undefined;
  limit: number;
}

/** Schedules, newest first; deleted ones only where they are asked for. */
export function listSchedules(
  orm: PostgresJsDatabase,
  { status, client_id, task_type, tag, after, limit }: ScheduleFilter,
): Promise<ScheduleRow[]> {
  return orm
    .select()
    .from(schedules)
    .where(
      and(
        status ? eq(schedules.status, status) : ne(schedules.status, 'DELETED'),
        client_id ? eq(schedules.client_id, client_id) : undefined,
        task_type ? eq(schedules.task_type, task_type) : undefined,
        tag ? arrayContains(schedules.tags, [tag]) : undefined,
        after ? lt(schedules.schedule_id, after) : undefined,
      ),
    )
    .orderBy(desc(schedules.schedule_id))
    .limit(limit);
}

const EVENTS = { pause: 'schedule.paused', resume: 'schedule.resumed', delete: 'schedule.deleted' } as const;
const BECOMES = { pause: 'PAUSED', resume: 'ACTIVE', delete: 'DELETED' } as const;

/** Moves a schedule through its life. Undefined where its status does not allow it. */
export async function moveSchedule(
  sql: Sql,
  {
    scheduleId,
    event,
    nextRunAt = null,
    note = null,
    version,
  }: {
    scheduleId: string;
    event: keyof typeof BECOMES;
    nextRunAt?: Date | null;
    note?: string | null;
    version?: number;
  },
): Promise<{ subject_id: string } | undefined> {
  const [row] = await transition<{ subject_id: string }>(sql, {
    change: sql`
      update schedules set status = ${BECOMES[event]}, next_run_at = ${nextRunAt}, pause_note = ${note}, version = version + 1, updated_at = (select now from clock)
      where schedule_id = ${scheduleId} and status = any(${statesAllowing(SCHEDULE, event)}::text[]) ${version === undefined ? sql`` : sql`and version = ${version}`}
      returning schedule_id as subject_id, jsonb_build_object('to', status) as detail`,
    event: recordEvent(sql, EVENTS[event]),
  });
  return row;
}

export interface ExecutionRow {
  execution_id: string;
  schedule_id: string;
  status: 'FIRED' | 'SKIPPED' | 'MISSED' | 'TRIGGERED' | 'BACKFILLED';
  scheduled_at: Date;
  fired_at: Date | null;
  lateness_ms: number | null;
  task_id: string | null;
  task_status: TaskStatus | null;
  result_data: Json;
  error: Json;
}

/** What happened at each due time, newest first, with how its task is doing. */
export async function listExecutions(
  sql: Sql,
  { scheduleId, after, limit }: { scheduleId: string; after: string | undefined; limit: number },
): Promise<ExecutionRow[]> {
  return sql<ExecutionRow[]>`
    select e.execution_id, e.schedule_id, e.status, e.scheduled_at, e.fired_at,
      (extract(epoch from e.fired_at - e.scheduled_at) * 1000)::int as lateness_ms, e.task_id, coalesce(e.task_status, s.status) as task_status, r.result_data, r.error
    from executions e
    left join lateral (select status, final_fence from task_state where task_id = e.task_id offset 0) s on true
    left join runs r on r.fence = s.final_fence
    where e.schedule_id = ${scheduleId} ${after ? sql`and e.execution_id < ${after}` : sql``}
    order by e.execution_id desc limit ${limit}`;
}
