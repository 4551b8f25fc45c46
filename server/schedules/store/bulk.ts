import { type Actor, auditedTime, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { gapRows, recordGaps, type SkippedGaps, skippedOf } from './gaps.ts';
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

/** What becomes of a schedule that is paused or resumed. */
export interface TogetherMove {
  /** As it was read: of one that has changed nothing becomes. */
  seen: Pick<ScheduleRow, 'schedule_id' | 'version' | 'next_run_at'>;
  /** When it is due next; null where it is not. */
  next: { next_run_at: Date; jitter_ms: number } | null;
  /** What passed while it was paused. */
  gap: Omit<SkippedGaps[number], 'schedule_id'> | null;
}

/** Pauses or resumes schedules in one statement. Answers how many. */
export async function moveTogether(
  sql: Sql,
  {
    event,
    moves,
    note,
    by,
  }: { event: 'pause' | 'resume'; moves: readonly TogetherMove[]; note: string | null; by?: Actor | undefined },
): Promise<number> {
  const from = event === 'pause' ? 'ACTIVE' : 'PAUSED';
  const becomes = moves.map(({ seen, next }) => ({
    schedule_id: seen.schedule_id,
    version: seen.version,
    // A tick moves what is active on; a pause keeps where it has come to.
    next_run_at: next?.next_run_at ?? null,
    jitter_ms: next?.jitter_ms ?? 0,
    status: event === 'pause' ? 'PAUSED' : next ? 'ACTIVE' : 'ENDED',
  }));
  const gaps = moves.flatMap(({ seen, gap }) => (gap ? [{ ...gap, schedule_id: seen.schedule_id }] : []));
  const audited = (of: string) =>
    sql`jsonb_build_object('status', ${sql(of)}.status, 'next_run_at', ${auditedTime(sql, `${of}.next_run_at`)}, 'pause_note', ${sql(of)}.pause_note)`;
  const moved = await transition(sql, {
    before: {
      locked: sql`
        select * from schedules where schedule_id = any(${moves.map(({ seen }) => seen.schedule_id)}::text[]) order by schedule_id for no key update`,
      gaps: gapRows(sql, gaps),
    },
    change: sql`
      update schedules s set status = r.status, next_run_at = r.next_run_at, jitter_ms = r.jitter_ms, pause_note = ${note},
        paused_from = ${event === 'pause' ? sql`locked.next_run_at` : null}, skipped = s.skipped + ${skippedOf(sql)}, version = s.version + 1, updated_at = (select now from clock)
      from locked, json_populate_recordset(null::schedules, ${JSON.stringify(becomes)}::text::json) r
      where s.schedule_id = locked.schedule_id and r.schedule_id = s.schedule_id and s.version = r.version and locked.status = ${from}
      returning s.schedule_id as subject_id, s.owner, jsonb_build_object('to', s.status) as detail, ${audited('locked')} as before, ${audited('s')} as after`,
    also: recordGaps(sql),
    event: recordEvent(sql, event === 'pause' ? 'schedule.paused' : 'schedule.resumed'),
    audit: recordAudit(sql, by, `schedule.${event}`),
    answer: sql`select subject_id from changed`,
  });
  return moved.length;
}
