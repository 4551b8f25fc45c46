import { SCHEDULE, type ScheduleStatus, statesAllowing } from '@muster/shared/lifecycle';
import { and, arrayContains, desc, eq, lt, ne } from 'drizzle-orm';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { type Actor, auditedTime, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { schedules } from '../../schema/schedules.ts';
import { gapRows, recordGaps, type SkippedGaps, skippedOf } from './gaps.ts';

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
export type SkippedGap = Omit<SkippedGaps[number], 'schedule_id'>;

/** How a schedule moves through its life. */
export interface Move {
  scheduleId: string;
  event: keyof typeof EVENTS;
  /** What it was when this was decided: otherwise nothing happens. */
  seen?: Pick<ScheduleRow, 'version'> & Partial<Pick<ScheduleRow, 'next_run_at'>>;
  /** When it is due next; one that resumes and is not has ENDED. */
  next?: { next_run_at: Date; jitter_ms: number } | null;
  gap?: SkippedGap | null;
  note?: string | null;
  by?: Actor | undefined;
}

/** Moves a schedule through its life. Undefined where its status does not allow it, or it is not any more what was seen. */
export async function moveSchedule(
  sql: Sql,
  { event, note = null, by, ...move }: Move,
): Promise<{ subject_id: string } | undefined> {
  const [row] = await moveSchedules(sql, { event, note, by, moves: [move] });
  return row;
}

/** The same of many in one statement. Answers those that moved. */
export async function moveSchedules(
  sql: Sql,
  {
    event,
    note,
    by,
    moves,
  }: {
    event: Move['event'];
    note: string | null;
    by: Actor | undefined;
    moves: readonly Omit<Move, 'event' | 'note' | 'by'>[];
  },
): Promise<{ subject_id: string }[]> {
  const becomes = moves.map(({ scheduleId, seen, next }) => ({
    schedule_id: scheduleId,
    seen_version: seen?.version,
    seen_next: seen?.next_run_at,
    any_next: seen?.next_run_at === undefined,
    status: { pause: 'PAUSED', resume: next ? 'ACTIVE' : 'ENDED', delete: 'DELETED' }[event],
    ...next,
  }));
  const gaps = moves.flatMap(({ scheduleId, gap }) => (gap ? [{ ...gap, schedule_id: scheduleId }] : []));
  return transition<{ subject_id: string }>(sql, {
    before: {
      r: sql`
        select * from json_to_recordset(${JSON.stringify(becomes)}::text::json)
        as r(schedule_id text, seen_version int, seen_next timestamptz, any_next boolean, status text, next_run_at timestamptz, jitter_ms int)`,
      locked: sql`
        select * from schedules where schedule_id = any(${moves.map((it) => it.scheduleId)}::text[]) order by schedule_id for no key update`,
      gaps: gapRows(sql, gaps),
    },
    change: sql`
      update schedules s set status = r.status, next_run_at = r.next_run_at, jitter_ms = coalesce(r.jitter_ms, 0), pause_note = ${note},
        paused_from = ${event === 'pause' ? sql`locked.next_run_at` : null}, skipped = s.skipped + ${skippedOf(sql)}, version = s.version + 1, updated_at = (select now from clock)
      from locked, r where s.schedule_id = locked.schedule_id and s.schedule_id = r.schedule_id and s.status = any(${statesAllowing(SCHEDULE, event)}::text[])
        and s.version = coalesce(r.seen_version, s.version) and (r.any_next or s.next_run_at is not distinct from r.seen_next)
      returning s.schedule_id as subject_id, s.owner, jsonb_build_object('to', s.status) as detail, ${moving(sql, 'locked')} as before, ${moving(sql, 's')} as after`,
    also: recordGaps(sql),
    event: recordEvent(sql, EVENTS[event]),
    audit: recordAudit(sql, by, `schedule.${event}`),
    answer: sql`select subject_id from changed`,
  });
}
