import type { Fragment, Sql } from '../platform/database.ts';

/** The outbox row of a transition: `changed` gives the `subject_id`s and, as jsonb, a `detail` each. No change, no event. */
export const recordEvent = (sql: Sql, kind: string, changed = 'changed'): Fragment => sql`
  insert into events (tx, at, kind, subject_ids, detail)
  select pg_current_xact_id(), (select now from clock), ${kind}, array_agg(subject_id), jsonb_agg(detail) from ${sql(changed)} having count(*) > 0`;

/** The same for a transition that does several things: `changed` gives the `kind` of each, too. */
export const recordEvents = (sql: Sql): Fragment => sql`
  insert into events (tx, at, kind, subject_ids, detail)
  select pg_current_xact_id(), (select now from clock), kind, array_agg(subject_id), jsonb_agg(detail) from changed group by kind`;

/** The same for the hot statements, which are plain text: one row for all the runs of a batch. `rows` gives the `fence`s. */
export const runEvent = (kind: string, rows: string): string => `
  insert into events (tx, at, kind, fences)
  select pg_current_xact_id(), (select now from clock), '${kind}', array_agg(fence order by fence) from ${rows} having count(*) > 0`;

/** And for tasks that come into being. `rows` gives the `task_id`s. */
export const taskEvent = (kind: string, rows: string): string => `
  insert into events (tx, at, kind, subject_ids)
  select pg_current_xact_id(), (select now from clock), '${kind}', array_agg(task_id) from ${rows} having count(*) > 0`;
