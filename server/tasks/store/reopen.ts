import type { Fragment, Sql } from '../../platform/database.ts';
import { RANK } from './times.ts';

/** What a person's retry does to the row of a task, `t`: its end is taken back, its runs so far stay as history, and its whole time begins anew. */
export const reopened = (sql: Sql): Fragment => sql`
  closed_status = null, closed_at = null, closed_reason = null,
  reset_fence = coalesce((select max(fence) from runs where runs.task_id = t.task_id), 0),
  run_at = case when t.task_timeout_seconds is null then t.run_at else (select now from clock) end,
  rank = case when t.task_timeout_seconds is null then t.rank else (select ${sql.unsafe(RANK)} from (select now as run_at, t.priority as priority from clock) anew) end`;

/** What of it the parts below read. */
export const reopenedColumns = (sql: Sql): Fragment =>
  sql`t.task_id, t.class_id::int, t.rank, t.run_at, t.concurrency_key, t.task_timeout_seconds`;

/** Where reopened tasks go, `changed`: to `ready`, or to wait for room of their concurrency key. `locked` has them as they were: when their time would have been over does not matter any more. */
export const queuedAgain = (sql: Sql): Record<string, Fragment> => ({
  queued: sql`
    insert into ready (class_id, rank, task_id, replica, attempt, failures)
    select class_id, rank, task_id, 0, 0, 0 from changed where concurrency_key is null`,
  gate: sql`
    insert into gated (owner, concurrency_key, rank, task_id, class_id, run_at)
    select owner, concurrency_key, rank, task_id, class_id, run_at from changed where concurrency_key is not null`,
  unlimited: sql`
    delete from expiring where ctid = any(array(
      select found.ctid from locked l join changed c on c.task_id = l.task_id
      cross join lateral (
        select ctid from expiring e where e.expires_at = l.run_at + make_interval(secs => l.task_timeout_seconds) and e.task_id = l.task_id and e.started offset 0
      ) found))`,
  limited: sql`
    insert into expiring (expires_at, task_id, started)
    select run_at + make_interval(secs => task_timeout_seconds), task_id, true from changed where task_timeout_seconds is not null
    on conflict do nothing`,
});
