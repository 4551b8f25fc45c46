import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvents } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { RULE_COLUMNS, type Rule } from '../rule.ts';
import { gapRows, recordGaps, type SkippedGaps, skippedOf } from './gaps.ts';
import type { ScheduleFilter, ScheduleRow } from './schedules.ts';

/** A schedule of an owner that has this name. */
export async function findNamed(sql: Sql, owner: string, name: string): Promise<string | undefined> {
  const [row] = await sql<{ schedule_id: string }[]>`
    select schedule_id from schedules where owner = ${owner} and name = ${name} and status <> 'DELETED'`;
  return row?.schedule_id;
}

/** An owner's schedules that have a name, by name. */
export const listNamed = (sql: Sql, owner: string, limit: number): Promise<ScheduleRow[]> =>
  sql<ScheduleRow[]>`
    select * from schedules where owner = ${owner} and name is not null and status <> 'DELETED' order by name limit ${limit}`;

/** Active schedules that are due before an instant, by a filter. */
export const listComing = (
  sql: Sql,
  filter: Pick<ScheduleFilter, 'owner' | 'client_id' | 'task_type' | 'tag'> & { before: Date; limit: number },
): Promise<ScheduleRow[]> => {
  const { owner, client_id, task_type, tag, before, limit } = filter;
  return sql<ScheduleRow[]>`
    select * from schedules where status = 'ACTIVE' and next_run_at < ${before}
      ${owner === undefined ? sql`` : sql`and owner = ${owner}`} ${client_id ? sql`and client_id = ${client_id}` : sql``}
      ${task_type ? sql`and task_type = ${task_type}` : sql``} ${tag ? sql`and tags @> array[${tag}]::text[]` : sql``} limit ${limit}`;
};

/** What a schedule was when something was decided about it. */
export type Seen = Pick<ScheduleRow, 'schedule_id' | 'version' | 'next_run_at'>;

/** A schedule with another rule, and what of it that changes. */
export interface Ruled
  extends Rule,
    Pick<ScheduleRow, 'schedule_id' | 'status' | 'next_run_at' | 'jitter_ms' | 'paused_from'> {}

/** A schedule to be made. */
export interface Made extends Rule, Pick<ScheduleRow, 'schedule_id' | 'owner' | 'next_run_at' | 'jitter_ms'> {}

/** What is to become of schedules, all of it or nothing. */
export interface Changes {
  create: readonly Made[];
  update: readonly Ruled[];
  /** By id, with the due times that passed before they were deleted. */
  remove: readonly string[];
  gaps: SkippedGaps;
  /** Those updated and removed as they were seen: otherwise nothing happens. */
  seen: readonly Seen[];
}

const SET = [...RULE_COLUMNS, 'status', 'next_run_at', 'jitter_ms', 'paused_from'];
const MAKE = [...RULE_COLUMNS, 'schedule_id', 'owner', 'next_run_at', 'jitter_ms'];

/** Columns as text. */
const listed = (names: readonly string[]) => names.map((name) => `"${name}"`).join(', ');
/** The same of a record `r`. The null of JSON is a value of the input, and comes out of a record as none. */
const ofRecord = (names: readonly string[]) =>
  names.map((name) => (name === 'input_data' ? `coalesce(r.input_data, 'null')` : `r."${name}"`)).join(', ');

/** What of a schedule is audited: its rule, but nothing of its input. */
const audited = (sql: Sql, of: string): Fragment =>
  sql`to_jsonb(${sql(of)}) - array['input_data', 'metadata', 'description', 'pause_note', 'jitter_ms', 'fire_at', 'created_at', 'updated_at']`;

/** Changes schedules together. Answers whether it did: not where one of them is not any more what was seen. */
export async function applyChanges(
  sql: Sql,
  { create, update, remove, gaps, seen }: Changes,
  action: 'schedule.update' | 'schedule.import',
  by?: Actor,
): Promise<boolean> {
  const rows = (of: readonly object[]) =>
    sql`json_populate_recordset(null::schedules, ${JSON.stringify(of)}::text::json) r`;
  const told = sql`jsonb_build_object('to', s.status) as detail`;
  const changed = await transition<{ subject_id: string }>(sql, {
    before: {
      locked: sql`
        select * from schedules where schedule_id = any(${seen.map((it) => it.schedule_id)}::text[]) order by schedule_id for no key update`,
      fit: sql`
        select count(*) = ${seen.length} as all_fit from locked l join ${rows(seen)} on r.schedule_id = l.schedule_id
        where l.version = r.version and l.next_run_at is not distinct from r.next_run_at and l.status <> 'DELETED'`,
      gaps: gapRows(sql, gaps),
      created: sql`
        insert into schedules as s (${sql.unsafe(listed(MAKE))}, status, created_at, updated_at)
        select ${sql.unsafe(ofRecord(MAKE))}, 'ACTIVE', now, now from clock, ${rows(create)} where (select all_fit from fit)
        returning s.schedule_id as subject_id, s.owner, 'schedule.created' as kind, ${told}, null::jsonb as before, ${audited(sql, 's')} as after`,
      updated: sql`
        update schedules s set (${sql.unsafe(listed(SET))}) = row(${sql.unsafe(ofRecord(SET))}), version = s.version + 1, updated_at = (select now from clock)
        from locked, ${rows(update)} where s.schedule_id = locked.schedule_id and s.schedule_id = r.schedule_id and (select all_fit from fit)
        returning s.schedule_id as subject_id, s.owner, 'schedule.updated' as kind, ${told}, ${audited(sql, 'locked')} as before, ${audited(sql, 's')} as after`,
      removed: sql`
        update schedules s set status = 'DELETED', next_run_at = null, jitter_ms = 0, paused_from = null, pause_note = null, skipped = s.skipped + ${skippedOf(sql)}, version = s.version + 1, updated_at = (select now from clock)
        from locked where s.schedule_id = locked.schedule_id and s.schedule_id = any(${[...remove]}::text[]) and (select all_fit from fit)
        returning s.schedule_id as subject_id, s.owner, 'schedule.deleted' as kind, ${told}, ${audited(sql, 'locked')} as before, ${audited(sql, 's')} as after`,
    },
    change: sql`select * from created union all select * from updated union all select * from removed`,
    also: recordGaps(sql),
    event: recordEvents(sql),
    audit: recordAudit(sql, by, action),
    answer: sql`select subject_id from changed`,
  });
  return changed.length === create.length + update.length + remove.length;
}
