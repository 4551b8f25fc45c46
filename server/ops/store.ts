import { GAP_MS } from '../platform/cluster.ts';
import type { Sql } from '../platform/database.ts';

/** A coordinator says that it lives. Answers how many others do, and takes away those long dead. */
export async function beatCoordinator(sql: Sql, coordinatorId: string, url: string): Promise<number> {
  const [row] = await sql<[{ peers: number }]>`
    with clock as materialized (select muster_now() as now),
    network as (
      insert into cluster (one, beat_at, steady_since) select true, now, now from clock
      on conflict (one) do update set beat_at = excluded.beat_at,
        steady_since = case when cluster.beat_at < excluded.beat_at - ${GAP_MS} * interval '1 millisecond' then excluded.beat_at else cluster.steady_since end
    ),
    self as (
      insert into coordinators (coordinator_id, url, beat_at) select ${coordinatorId}, ${url}, now from clock
      on conflict (coordinator_id) do update set beat_at = excluded.beat_at
    ),
    gone as (delete from coordinators where beat_at < (select now from clock) - interval '1 hour')
    select count(*)::int as peers from coordinators, clock where coordinator_id <> ${coordinatorId} and beat_at > now - interval '30 seconds'`;
  return row.peers;
}

/** A coordinator says goodbye. */
export async function leaveCluster(sql: Sql, coordinatorId: string): Promise<void> {
  await sql`delete from coordinators where coordinator_id = ${coordinatorId}`;
}

/** A table of so many pages is vacuumed by us; what is larger, by Postgres in its own time. 400 MB. */
const VACUUM_PAGES = 50_000;
/** So many dead rows, and one more for so many live ones, make a vacuum worth it: a claim walks over those at the head of `ready`. */
const DEAD_ROWS = 20_000;
const DEAD_SHARE = 5;
/** Below so many rows it does not matter what the planner believes; above, when it believes a table so many times smaller than it is. */
const FEW_ROWS = 1_000;
const GROWN = 4;

/** Tables the planner knows too little of, or that hold too much that is dead. */
export interface Worn {
  table: string;
  vacuum: boolean;
}

/** Looks at the counters Postgres keeps anyway: no table is read. */
export async function findWornTables(sql: Sql): Promise<Worn[]> {
  return sql<Worn[]>`
    select relname as table, vacuum from (
      select relname, relpages <= ${VACUUM_PAGES} and pg_stat_get_dead_tuples(oid) >= ${DEAD_ROWS} + pg_stat_get_live_tuples(oid) / ${DEAD_SHARE} as vacuum,
        pg_stat_get_live_tuples(oid) >= ${GROWN} * greatest(reltuples, ${FEW_ROWS / GROWN}) as stale
      from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace
    ) t where vacuum or stale order by 1`;
}

/**
 * Vacuums tables, or analyzes them, on the one connection of `session`. Whoever comes to one while another coordinator or Postgres itself is
 * at it leaves it to them. All are analyzed in one transaction: at its end every session plans its statements anew, which holds up what is
 * asked meanwhile.
 */
export async function refreshTables(session: Sql, worn: readonly Worn[]): Promise<void> {
  const [vacuumed, analyzed] = [true, false].map((vacuum) => worn.filter((it) => it.vacuum === vacuum));
  // Pages at the end are kept: they are about to be used again, and giving them back locks everybody out.
  for (const { table } of vacuumed!)
    await session`vacuum (truncate off, index_cleanup on, parallel 0, skip_locked) ${session(table)}`;
  if (analyzed!.length === 0) return;
  await session`begin`;
  try {
    // One statement a table: each has its own time.
    for (const { table } of analyzed!) await session`analyze (skip_locked) ${session(table)}`;
  } catch (error) {
    // What went wrong is the first error: where the connection is gone, this one fails too.
    await session`rollback`.catch(() => {});
    throw error;
  }
  await session`commit`;
}

/** Whether the database answers. */
export async function ping(sql: Sql): Promise<void> {
  await sql`select 1`;
}
