import type { TaskStatus } from '@muster/shared/lifecycle';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { RANK } from './times.ts';

/** What a person's retry does to the row of a task, `t`: its end is taken back, its runs so far stay as history, and its whole time begins anew. */
const reopened = (sql: Sql): Fragment => sql`
  closed_status = null, closed_at = null, closed_reason = null, closed_code = null,
  reset_fence = coalesce((select max(fence) from runs where runs.task_id = t.task_id), 0),
  run_at = case when t.task_timeout_seconds is null then t.run_at else (select now from clock) end,
  rank = case when t.task_timeout_seconds is null then t.rank else (select ${sql.unsafe(RANK)} from (select now as run_at, t.priority as priority from clock) anew) end`;

/** What of it the parts below read. */
const reopenedColumns = (sql: Sql): Fragment =>
  sql`t.task_id, t.class_id::int, t.rank, t.run_at, t.concurrency_key, t.task_timeout_seconds`;

/** Where reopened tasks go, `changed`: to `ready`, or to wait for room of their concurrency key. `locked` has them as they were: when their time would have been over does not matter any more. */
const queuedAgain = (sql: Sql): Record<string, Fragment> => ({
  queued: sql`
    insert into ready (class_id, rank, task_id, replica, attempt, failures)
    select class_id, rank, task_id, 0, 0, 0 from changed where concurrency_key is null`,
  gate: sql`
    insert into gated (owner, concurrency_key, rank, task_id, class_id, run_at)
    select owner, concurrency_key, rank, task_id, class_id, run_at from changed where concurrency_key is not null`,
  unverified: sql`delete from verifications where task_id = any(array(select task_id from changed)) returning task_id`,
  unwanted: sql`delete from replicas where task_id = any(array(select task_id from unverified)) and fence is null`,
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

/** Which tasks to queue again. */
export interface Choice {
  /** Gives their `task_id`. */
  chosen: Fragment;
  /** How they have to have ended. */
  ended: readonly TaskStatus[];
  /** Those that somebody else has in hand are waited for, not left to them. */
  patient?: boolean;
}

/**
 * Queues ended tasks again of which nothing runs any more. Their runs stay as history; the fence of the last one says which are forgotten.
 * Those whose unique key another task has by now stay as they are, and of two that share one the second.
 */
export function retryTasks(
  sql: Sql,
  { chosen, ended, patient = false }: Choice,
  audit?: Fragment,
): Promise<{ task_id: string; class_id: number }[]> {
  return transition<{ task_id: string; class_id: number }>(sql, {
    before: {
      chosen,
      locked: sql`
        select task_id, owner, unique_key, run_at, task_timeout_seconds, closed_status, closed_reason, reset_fence from tasks
        where task_id = any(array(select task_id from chosen)) order by task_id for no key update ${patient ? sql`` : sql`skip locked`}`,
      // What the row says now: it may have been retried since the statement began.
      ended: sql`
        select * from (
          select l.*, coalesce(l.closed_status, case r.status when 'LOST' then 'FAILED' else r.status end) as status
          from locked l left join lateral (
            select status from runs where runs.task_id = l.task_id and runs.final and runs.fence > l.reset_fence order by fence desc limit 1
          ) r on true
        ) l where status = any(${ended as string[]}::text[]) and not exists (select from leases where leases.task_id = l.task_id)`,
      keyed: sql`
        insert into unique_keys (owner, unique_key, task_id)
        select distinct on (owner, unique_key) owner, unique_key, task_id from ended where unique_key is not null order by owner, unique_key, task_id
        on conflict do nothing returning task_id`,
    },
    change: sql`
      update tasks t set ${reopened(sql)} from ended e where t.task_id = e.task_id and (e.unique_key is null or e.task_id in (select task_id from keyed))
      returning ${reopenedColumns(sql)}, t.task_id as subject_id, t.owner, null::jsonb as detail,
        jsonb_build_object('status', e.status, 'reason', e.closed_reason) as before, jsonb_build_object('status', 'PENDING') as after`,
    also: queuedAgain(sql),
    event: recordEvent(sql, 'task.retried'),
    audit,
    answer: sql`select task_id, class_id from changed`,
  });
}

/** Tasks by their ids. */
export const chosenOf = (sql: Sql, taskIds: readonly string[]): Fragment =>
  sql`select unnest(${taskIds as string[]}::text[]) as task_id`;
