import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { transition } from '../../platform/transition.ts';

/**
 * What the end of tasks does to those that wait for them, for the statement that ends them: CTEs by name. `over` is one with
 * their `task_id`, `completed`, and `has_dependents`, so that where nobody waits nobody is looked for. The rows of `blocked` are locked
 * in id order, before those of `dependencies` as wherever one that waits ends, and count down on the locked row: of two that end at once
 * the second sees what the first left.
 */
export const closeDependencies = (over: string): Record<string, string> => {
  // From task to task, whatever the planner thinks of the table.
  const waiting = `(select task_id from ${over} where has_dependents) o cross join lateral (
      select ctid as place, task_id from dependencies where needs_task_id = o.task_id offset 0) d`;
  return {
    dependents: `select task_id from blocked where task_id = any(array(select d.task_id from ${waiting})) order by task_id for update`,
    closed: `
    delete from dependencies where ctid = any(array(select d.place from ${waiting} where d.task_id in (select task_id from dependents)))
    returning needs_task_id, task_id`,
    counted: `
    update blocked b set open = b.open - c.n, failed = b.failed or c.failed
    from (select c.task_id, count(*)::int as n, bool_or(not o.completed) as failed from closed c join ${over} o on o.task_id = c.needs_task_id group by 1) c
    where b.task_id = any(array(select task_id from closed)) and b.task_id = c.task_id`,
  };
};

/** The same as parts of a transition. */
export const closing = (sql: Sql, over: string): Record<string, Fragment> =>
  Object.fromEntries(Object.entries(closeDependencies(over)).map(([name, text]) => [name, sql.unsafe(text)]));

/** Frees the unique keys of tasks that ended. `over` gives their `task_id`. */
export const freeKeys = (over: string): string =>
  `delete from unique_keys where task_id = any(array(select task_id from ${over}))`;

/** Among whose dependencies to look: of these tasks, of those submitted in the last so many seconds, or of a page of all, by what they need. */
export type Among = { taskIds: readonly string[] } | { seconds: number } | { after: string; limit: number };

const needsOf = (sql: Sql, among: Among): Fragment => {
  if ('taskIds' in among)
    return sql`select distinct needs_task_id from dependencies where task_id = any(${among.taskIds as string[]}::text[])`;
  if ('seconds' in among)
    return sql`
      select distinct needs_task_id from dependencies where created_at > (select muster_now()) - make_interval(secs => ${among.seconds})`;
  return sql`select distinct needs_task_id from dependencies where needs_task_id > ${among.after} order by 1 limit ${among.limit}`;
};

/**
 * Counts down those that wait for a task that has ended by now: it may have ended while they were being submitted, in a statement that could
 * not see them. Answers how many waited for nothing any more, and the last task of those looked at, in the order of their ids.
 */
export async function settleDependencies(sql: Sql, among: Among): Promise<{ settled: number; last: string | null }> {
  const parts = closeDependencies('ends');
  const [row] = await retried(
    () => sql<[{ settled: number; last: string | null }]>`
    with needs as materialized (${needsOf(sql, among)}),
    ends as materialized (
      -- One that is not there any more had ended long ago.
      select d.needs_task_id as task_id, coalesce(s.status = 'COMPLETED', false) as completed, true as has_dependents
      from needs d
      left join lateral (select task_id, status from task_state where task_state.task_id = d.needs_task_id offset 0) s on true
      where coalesce(s.status, 'EXPIRED') in ('COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED', 'SKIPPED')
    ),
    dependents as (${sql.unsafe(parts.dependents!)}), closed as (${sql.unsafe(parts.closed!)}), counted as (${sql.unsafe(parts.counted!)})
    select (select count(*) from closed)::int as settled, (select max(needs_task_id) from needs) as last`,
  );
  return row;
}

/** Whether any task waits for others, or for room at its concurrency key. */
export const TO_UNBLOCK = 'exists (select from blocked) or exists (select from gated)';

/** Lets tasks go whose dependencies have all ended as they should, or however they ended. Answers the class there is now work of for each, null where it is due later. */
export async function unblockTasks(sql: Sql, limit: number): Promise<(number | null)[]> {
  const rows = await transition<{ class_id: number | null }>(sql, {
    before: {
      freed: sql`
        delete from blocked where task_id = any(array(
          select task_id from blocked where open = 0 and (not failed or on_failure = 'run') order by task_id limit ${limit} for update skip locked))
        returning task_id, class_id`,
    },
    change: sql`
      select f.task_id, f.class_id, t.owner, t.concurrency_key, t.rank, t.run_at, t.run_at <= (select now from clock) as due, f.task_id as subject_id, null::jsonb as detail
      from freed f join tasks t on t.task_id = f.task_id`,
    also: {
      queued: sql`
        insert into ready (class_id, rank, task_id, replica, attempt, failures) select class_id, rank, task_id, 0, 0, 0 from changed where due and concurrency_key is null`,
      later: sql`
        insert into delayed (run_at, task_id, replica, class_id, rank, attempt, failures)
        select run_at, task_id, 0, class_id, rank, 0, 0 from changed where not due and concurrency_key is null`,
      gate: sql`
        insert into gated (owner, concurrency_key, rank, task_id, class_id, run_at)
        select owner, concurrency_key, rank, task_id, class_id, run_at from changed where concurrency_key is not null`,
    },
    event: recordEvent(sql, 'task.unblocked'),
    answer: sql`select case when due and concurrency_key is null then class_id::int end as class_id from changed`,
  });
  return rows.map((row) => row.class_id);
}

/** Ends tasks one of whose dependencies was not completed, as they wish: FAILED or SKIPPED. Whoever waits for them is counted down in turn. */
export async function failDependents(sql: Sql, limit: number): Promise<number> {
  const rows = await transition<{ n: number }>(sql, {
    before: {
      freed: sql`
        delete from blocked where task_id = any(array(
          select task_id from blocked where failed and on_failure <> 'run' order by task_id limit ${limit} for update skip locked))
        returning task_id, on_failure`,
      edges: sql`delete from dependencies where task_id = any(array(select task_id from freed)) returning task_id`,
    },
    change: sql`
      update tasks t set closed_status = case f.on_failure when 'skip' then 'SKIPPED' else 'FAILED' end, closed_at = (select now from clock),
        closed_reason = 'a task it depends on was not completed'
      from freed f where t.task_id = f.task_id and t.closed_status is null
      returning t.task_id, t.task_id as subject_id, t.has_dependents, false as completed, jsonb_build_object('status', t.closed_status) as detail`,
    also: { ...closing(sql, 'changed'), unkeyed: sql.unsafe(freeKeys('changed')) },
    event: recordEvent(sql, 'task.dependency_failed'),
    answer: sql`select count(*)::int as n from changed`,
  });
  return rows[0]?.n ?? 0;
}

/** Of these tasks, those that an owner does not have. */
export async function missingTasks(sql: Sql, owner: string | undefined, taskIds: readonly string[]): Promise<string[]> {
  const rows = await sql<{ task_id: string }[]>`
    select x.task_id from unnest(${taskIds as string[]}::text[]) as x(task_id)
    where not exists (select from tasks t where t.task_id = x.task_id ${owner === undefined ? sql`` : sql`and t.owner = ${owner}`})`;
  return rows.map((row) => row.task_id);
}
