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

/** Whether the database answers. */
export async function ping(sql: Sql): Promise<void> {
  await sql`select 1`;
}
