import { GAP_MS } from '../../platform/cluster.ts';
import type { Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { END_RUNS, endedBy, RELEASE_SLOTS } from './end-runs.ts';
import { LEASE_TTL_MS } from './heartbeat.ts';

/**
 * Nothing is reaped until coordinators have been there for one lease time without a gap: who could not beat because nobody
 * listened is not dead. The last beat is looked at too, for the gap is written down only by the next one.
 */
const STEADY = `coalesce((
  select steady_since <= now - interval '${LEASE_TTL_MS} milliseconds' and beat_at > now - interval '${GAP_MS} milliseconds' from cluster, clock), false)`;

interface Reaped {
  class_id: string;
  next: string;
}
const answer = (rows: readonly Reaped[]) => ({
  count: rows.length,
  ready: rows.filter((row) => row.next === 'ready').map((row) => Number(row.class_id)),
});

/** Takes back what agents hold whose lease has ended. Agents another coordinator has in hand are left to it. */
export async function reapLeases(admin: Sql, limit: number): Promise<{ count: number; ready: number[] }> {
  const rows = await retried(() =>
    admin.unsafe<Reaped[]>(
      `with clock as materialized (select muster_now() as now),
    locked as materialized (
      select agent_id from agents where ${STEADY} and agent_id in (
        select l.agent_id from (select distinct agent_id from leases) l join presence p on p.agent_id = l.agent_id
        where p.lease_expires_at < (select now from clock) order by 1 limit $1)
      order by agent_id for no key update skip locked
    ),
    gone as (delete from leases where agent_id in (select agent_id from locked) returning *),
    ${endedBy({
      status: 'LOST',
      fault: `'agent'`,
      error: `(select jsonb_build_object('code', 'lease-lost', 'message', 'no heartbeat since ' || to_char(p.last_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
        from presence p where p.agent_id = g.agent_id)`,
    })},
    ${END_RUNS},
    ${RELEASE_SLOTS}
    select class_id, next from judged`,
      [limit],
      { prepare: true },
    ),
  );
  return answer(rows);
}

/** Ends runs that took longer than they may. Their agents should have; this is for those that cannot. */
export async function timeOutRuns(admin: Sql, limit: number): Promise<{ count: number; ready: number[] }> {
  const late = `coalesce(started_at, assigned_at) + make_interval(secs => timeout_seconds) < (select now from clock)`;
  const rows = await retried(() =>
    admin.unsafe<Reaped[]>(
      `with clock as materialized (select muster_now() as now),
    late as materialized (select fence, agent_id from leases where ${STEADY} and ${late} order by fence limit $1),
    locked as materialized (
      select agent_id from agents where agent_id in (select agent_id from late) order by agent_id for no key update skip locked
    ),
    gone as (
      delete from leases where fence = any(array(select fence from late)) and (agent_id in (select agent_id from locked)) is true and ${late} returning *
    ),
    ${endedBy({
      status: 'TIMED_OUT',
      fault: `'agent'`,
      error: `jsonb_build_object('code', 'timeout', 'message', 'ran longer than ' || g.timeout_seconds || ' s')`,
    })},
    ${END_RUNS},
    ${RELEASE_SLOTS}
    select class_id, next from judged`,
      [limit],
      { prepare: true },
    ),
  );
  return answer(rows);
}
