import type { Fragment, Sql } from '../../platform/database.ts';

/**
 * Gives back the places that tasks held, for the statement that ends them: CTEs by name. `over` gives their `owner` and `concurrency_key`,
 * null where they have none. The rows of the keys are locked in order first: two that end tasks of the same keys never wait for each other.
 */
export const releaseKeys = (over: string): Record<string, string> => ({
  keys_freed: `select owner, concurrency_key, count(*)::int as n from ${over} where concurrency_key is not null group by 1, 2`,
  keys_locked: `
    select l.owner, l.concurrency_key from (select owner, concurrency_key from keys_freed order by 1, 2) f
    cross join lateral (
      select owner, concurrency_key from concurrency_limits c where c.owner = f.owner and c.concurrency_key = f.concurrency_key for no key update) l`,
  keys_released: `
    update concurrency_limits l set held = l.held - f.n from keys_freed f
    where (select count(*) from keys_locked) > 0 and l.owner = f.owner and l.concurrency_key = f.concurrency_key`,
});

/** The same as parts of a transition. */
export const releasing = (sql: Sql, over: string): Record<string, Fragment> =>
  Object.fromEntries(Object.entries(releaseKeys(over)).map(([name, text]) => [name, sql.unsafe(text)]));

/** How many keys one statement looks at. */
const KEYS = 1_000;

/** A key that has tasks waiting. */
export interface WaitingKey {
  owner: string;
  concurrency_key: string;
}

/**
 * Lets tasks into `ready` whose concurrency key has room: the best of each key, as many as there is room for. The row of the key is locked
 * and counted up in the same statement, so the limit holds however many coordinators do this. It walks the keys that have tasks waiting, one
 * step of the index each, from `after` on; `next` is where to go on, undefined once all were looked at. Answers the classes there is now work of.
 */
export async function admitGated(
  sql: Sql,
  limit: number,
  after: WaitingKey = { owner: '', concurrency_key: '' },
): Promise<{ classIds: number[]; next: WaitingKey | undefined }> {
  const rows = await sql<{ class_ids: number[] | null; keys: number; owner: string; concurrency_key: string }[]>`
    with recursive clock as materialized (select muster_now() as now),
    walk as (
      (select owner, concurrency_key, 1 as n from gated where (owner, concurrency_key) > (${after.owner}, ${after.concurrency_key}) order by 1, 2 limit 1)
      union all
      select g.owner, g.concurrency_key, w.n + 1 from walk w cross join lateral (
        select owner, concurrency_key from gated where (gated.owner, gated.concurrency_key) > (w.owner, w.concurrency_key) order by 1, 2 limit 1
      ) g where w.n < ${KEYS}
    ),
    open as materialized (
      select l.* from (select owner, concurrency_key from walk order by 1, 2) w cross join lateral (
        select owner, concurrency_key, max - held as room from concurrency_limits c
        where c.owner = w.owner and c.concurrency_key = w.concurrency_key and held < max for no key update skip locked
      ) l
    ),
    picked as materialized (
      select g.* from open cross join lateral (
        select task_id from gated where gated.owner = open.owner and gated.concurrency_key = open.concurrency_key
          -- Before its time a task ranks behind every due one, or nearly: this keeps the walk from those far ahead.
          and rank <= (select now from clock) - interval '5 minutes' and run_at <= (select now from clock)
        order by rank, task_id limit open.room for update skip locked
      ) g limit ${limit}
    ),
    gone as (delete from gated where task_id = any(array(select task_id from picked)) returning *),
    queued as (
      insert into ready (class_id, rank, task_id, replica, attempt, failures) select class_id, rank, task_id, 0, 0, 0 from gone
    ),
    counted as (
      update concurrency_limits l set held = l.held + g.n
      from (select owner, concurrency_key, count(*)::int as n from gone group by 1, 2) g where l.owner = g.owner and l.concurrency_key = g.concurrency_key
    )
    select owner, concurrency_key, n as keys, (select array_agg(class_id::int) from gone) as class_ids from walk order by n desc limit 1`;
  const [last] = rows;
  if (!last) return { classIds: [], next: undefined };
  const { keys, class_ids, ...at } = last;
  const classIds = class_ids ?? [];
  // Where so many were let in, some of these keys may not have had their turn.
  return { classIds, next: classIds.length === limit ? after : keys === KEYS ? at : undefined };
}

/** Says how many tasks of keys may be under way: what was said last holds. */
export async function setLimits(sql: Sql, owner: string, limits: ReadonlyMap<string, number>): Promise<void> {
  const sorted = [...limits].sort(([a], [b]) => (a < b ? -1 : 1));
  await sql`
    insert into concurrency_limits as l (owner, concurrency_key, max)
    select ${owner}, x.key, x.max from unnest(${sorted.map(([key]) => key)}::text[], ${sorted.map(([, max]) => max)}::int[]) as x(key, max)
    on conflict (owner, concurrency_key) do update set max = excluded.max where l.max <> excluded.max`;
}
