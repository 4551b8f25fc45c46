import type { Fragment, Sql } from '../platform/database.ts';

/**
 * Reads what happened since last time and applies it, in one statement: the cursor moves with the effect or not at all, so
 * each event counts once however many coordinators read. Ids are drawn before the commit, so rows appear out of order; a
 * reader stops at the oldest transaction that may still be open. `apply` is a data-changing part that reads `batch`
 * (fences, subject_ids, kind), and `also` names parts that read what it returned as `applied`. Answers how many events were read.
 */
export async function readEvents(
  sql: Sql,
  {
    reader,
    kinds,
    apply,
    also = {},
    limit = 200,
  }: { reader: string; kinds: string[]; apply: Fragment; also?: Record<string, Fragment>; limit?: number },
): Promise<number> {
  const more = Object.entries(also).map(([name, part]) => sql`${sql(name)} as (${part}),`);
  const rows = await sql<{ count: number }[]>`
    with clock as materialized (select muster_now() as now),
    cursor_row as materialized (select tx, event_id from event_cursors where reader = ${reader} for update skip locked),
    seen as materialized (
      select e.tx, e.event_id, e.kind, e.subject_ids, e.fences from cursor_row c, lateral (
        select * from events where (events.tx, events.event_id) > (c.tx, c.event_id) and events.tx < pg_snapshot_xmin(pg_current_snapshot())
        order by events.tx, events.event_id limit ${limit}
      ) e
    ),
    batch as materialized (select * from seen where kind = any(${kinds}::text[])),
    applied as (${apply}),
    ${more.length ? more : sql`` /* An empty list would be taken for a parameter. */} moved as (
      update event_cursors set tx = last.tx, event_id = last.event_id
      from (select tx, event_id from seen order by tx desc, event_id desc limit 1) last where reader = ${reader}
    )
    select count(*)::int as count from seen`;
  return rows[0]?.count ?? 0;
}

/** Whether there are events that a reader has not read. */
export const toRead = (reader: string): string => `exists (
  select from event_cursors c cross join lateral (
    select 1 from events where (events.tx, events.event_id) > (c.tx, c.event_id) and events.tx < pg_snapshot_xmin(pg_current_snapshot()) limit 1
  ) e where c.reader = '${reader}')`;

/** Makes a reader known; it starts with what happens from now on, and with what happened since the oldest open transaction began. */
export async function ensureReader(sql: Sql, reader: string): Promise<void> {
  await sql`
    insert into event_cursors (reader, tx, event_id) values (${reader}, pg_snapshot_xmin(pg_current_snapshot()), 0)
    on conflict (reader) do nothing`;
}

/** How long an event is kept after it happened, in days. */
const KEPT_DAYS = 7;

/** Forgets events that are old and that every reader has seen. */
export async function pruneEvents(sql: Sql, limit: number): Promise<number> {
  const result = await sql`
    with cutoff as materialized (select muster_now() - make_interval(days => ${KEPT_DAYS}) as at)
    delete from events where event_id in (
      select e.event_id from (select * from events order by event_id limit ${limit}) e
      where e.at < (select at from cutoff) and not exists (select from event_cursors c where (c.tx, c.event_id) < (e.tx, e.event_id)))`;
  return result.count;
}
