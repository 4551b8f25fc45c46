import { SCHEDULE, type ScheduleStatus, statesAllowing } from '@muster/shared/lifecycle';
import { and, arrayContains, desc, eq, lt, ne } from 'drizzle-orm';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { type Actor, auditedTime, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { schedules } from '../../schema/schedules.ts';
import type { Gap } from '../gap.ts';

export type ScheduleRow = typeof schedules.$inferSelect;

/** A schedule to be made. What stays undefined is as the columns have it by default. */
export type NewSchedule = Omit<typeof schedules.$inferInsert, 'status' | 'version' | 'created_at' | 'updated_at'>;

export async function insertSchedule(sql: Sql, it: NewSchedule, by?: Actor): Promise<void> {
  const columns = sql(
    Object.keys(it).filter((name) => name !== 'input_data' && it[name as keyof NewSchedule] !== undefined),
  );
  await transition(sql, {
    change: sql`
      insert into schedules (${columns}, input_data, status, created_at, updated_at)
      -- The null of JSON is a value, too.
      select ${columns}, coalesce(input_data, 'null'), 'ACTIVE', now, now from clock, json_populate_record(null::schedules, ${JSON.stringify(it)}::text::json)
      returning schedule_id as subject_id, owner, null::jsonb as detail, null::jsonb as before, jsonb_build_object('status', status, 'task_type', task_type,
        'cron_expression', cron_expression, 'timezone', timezone, 'priority', priority, 'tags', tags, 'next_run_at', ${auditedTime(sql, 'next_run_at')}) as after`,
    event: recordEvent(sql, 'schedule.created'),
    audit: recordAudit(sql, by, 'schedule.create'),
  });
}

export async function findSchedule(orm: PostgresJsDatabase, id: string): Promise<ScheduleRow | undefined> {
  const [row] = await orm.select().from(schedules).where(eq(schedules.schedule_id, id));
  return row;
}

export async function ownerOfSchedule(sql: Sql, scheduleId: string): Promise<string | undefined> {
  const [row] = await sql<{ owner: string }[]>`select owner from schedules where schedule_id = ${scheduleId}`;
  return row?.owner;
}

export interface ScheduleFilter {
  /** Whose; everybody's unless said. */
  owner: string | undefined;
  status?: ScheduleStatus | undefined;
  client_id?: string | undefined;
  task_type?: string | undefined;
  tag?: string | undefined;
  name?: string | undefined;
  after?: string | undefined;
  limit: number;
}

/** Schedules, newest first; deleted ones only where they are asked for. */
export function listSchedules(
  orm: PostgresJsDatabase,
  { owner, status, client_id, task_type, tag, name, after, limit }: ScheduleFilter,
): Promise<ScheduleRow[]> {
  return orm
    .select()
    .from(schedules)
    .where(
      and(
        status ? eq(schedules.status, status) : ne(schedules.status, 'DELETED'),
        owner === undefined ? undefined : eq(schedules.owner, owner),
        client_id ? eq(schedules.client_id, client_id) : undefined,
        task_type ? eq(schedules.task_type, task_type) : undefined,
        tag ? arrayContains(schedules.tags, [tag]) : undefined,
        name ? eq(schedules.name, name) : undefined,
        after ? lt(schedules.schedule_id, after) : undefined,
      ),
    )
    .orderBy(desc(schedules.schedule_id))
    .limit(limit);
}

const EVENTS = { pause: 'schedule.paused', resume: 'schedule.resumed', delete: 'schedule.deleted' } as const;

/** What of a schedule its moves change. */
const moving = (sql: Sql, of: string): Fragment =>
  sql`jsonb_build_object('status', ${sql(of)}.status, 'next_run_at', ${auditedTime(sql, `${of}.next_run_at`)}, 'pause_note', ${sql(of)}.pause_note)`;

/** Due times that passed and made nothing. */
export interface SkippedGap extends Gap {
  execution_id: string;
  reason: string;
}

/** How a schedule moves through its life. */
export interface Move {
  scheduleId: string;
  event: keyof typeof EVENTS;
  /** What it was when this was decided: otherwise nothing happens. */
  seen?: Pick<ScheduleRow, 'version' | 'next_run_at'>;
  /** When it is due next; one that resumes and is not has ENDED. */
  next?: { next_run_at: Date; jitter_ms: number } | null;
  gap?: SkippedGap | null;
  note?: string | null;
  by?: Actor | undefined;
}

/** Moves a schedule through its life. Undefined where its status does not allow it, or it is not any more what was seen. */
export async function moveSchedule(
  sql: Sql,
  { scheduleId, event, seen, next = null, gap = null, note = null, by }: Move,
): Promise<{ subject_id: string } | undefined> {
  const becomes = { pause: 'PAUSED', resume: next ? 'ACTIVE' : 'ENDED', delete: 'DELETED' }[event];
  const [row] = await transition<{ subject_id: string }>(sql, {
    before: { locked: sql`select * from schedules where schedule_id = ${scheduleId} for no key update` },
    change: sql`
      update schedules s set status = ${becomes}, next_run_at = ${next?.next_run_at ?? null}, jitter_ms = ${next?.jitter_ms ?? 0}, pause_note = ${note},
        paused_from = ${event === 'pause' ? sql`locked.next_run_at` : null}, skipped = s.skipped + ${gap?.count ?? 0}, version = s.version + 1, updated_at = (select now from clock)
      from locked where s.schedule_id = locked.schedule_id and s.status = any(${statesAllowing(SCHEDULE, event)}::text[])
        ${seen ? sql`and s.version = ${seen.version} and s.next_run_at is not distinct from ${seen.next_run_at}::timestamptz` : sql``}
      returning s.schedule_id as subject_id, s.owner, jsonb_build_object('to', s.status) as detail, ${moving(sql, 'locked')} as before, ${moving(sql, 's')} as after`,
    also: gap ? skipping(sql, gap) : {},
    event: recordEvent(sql, EVENTS[event]),
    audit: recordAudit(sql, by, `schedule.${event}`),
  });
  return row;
}

/** The execution of a gap and its event, for the transition that finds it. */
const skipping = (
  sql: Sql,
  { execution_id, reason, scheduled_at, until, count }: SkippedGap,
): Record<string, Fragment> => ({
  gap: sql`
    insert into executions (execution_id, schedule_id, status, reason, scheduled_at, until, count)
    select ${execution_id}, subject_id, 'SKIPPED', ${reason}, ${scheduled_at}::timestamptz, ${until}::timestamptz, ${count}::int from changed
    on conflict do nothing`,
  told: sql`
    insert into events (tx, at, kind, subject_ids, detail)
    select pg_current_xact_id(), now, 'schedule.skipped', array[subject_id],
      jsonb_build_array(jsonb_build_object('execution_id', ${execution_id}::text, 'reason', ${reason}::text, 'scheduled_at', ${scheduled_at}::timestamptz, 'until', ${until}::timestamptz, 'count', ${count}::int))
    from changed, clock`,
});
