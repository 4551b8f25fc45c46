import { GAP_MS } from '../../platform/cluster.ts';
import type { Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { END_RUNS, endedBy, releaseSlots } from './end-runs.ts';
import { LEASE_TTL_MS } from './heartbeat.ts';

/**
 * Nothing is reaped until coordinators have been there for one lease time without a gap: who could not beat because nobody
 * listened is not dead. The last beat is looked at too, for the gap is written down only by the next one.
 */
const STEADY = `coalesce((
  select steady_since <= now - interval '${LEASE_TTL_MS} milliseconds' and beat_at > now - interval '${GAP_MS} milliseconds' from cluster, clock), false)`;

/** How many runs ended, and the classes there is now work of. */
export interface Reaped {
  count: number;
  ready: number[];
}

/** A statement that takes leases back: `taking` leaves the deleted ones as `gone`, `why` says how their runs ended. `$1` limits it. */
export const reaping = (taking: string, why: Parameters<typeof endedBy>[0]): string => `
with clock as materialized (select muster_now() as now),
${taking},
${endedBy(why)},
${END_RUNS},
${releaseSlots('judged')}
select class_id, next from judged`;

const LOSE = reaping(
  `locked as materialized (
    select agent_id from agents where ${STEADY} and agent_id in (
      select l.agent_id from (select distinct agent_id from leases) l join presence p on p.agent_id = l.agent_id
      where p.lease_expires_at < (select now from clock) order by 1 limit $1)
    order by agent_id for no key update skip locked
  ),
  gone as (delete from leases where agent_id in (select agent_id from locked) returning *)`,
  {
    status: 'LOST',
    fault: `'agent'`,
    error: `(select jsonb_build_object('code', 'lease-lost', 'message', 'no heartbeat since ' || to_char(p.last_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
      from presence p where p.agent_id = g.agent_id)`,
  },
);

/** Whether there is any run to take back or to end. */
export const TO_REAP = 'exists (select from leases)';

const LATE = `coalesce(started_at, assigned_at) + make_interval(secs => timeout_seconds) < (select now from clock)`;
const TIME_OUT = reaping(
  `late as materialized (select fence, agent_id from leases where ${STEADY} and ${LATE} order by fence limit $1),
  locked as materialized (
    select agent_id from agents where agent_id in (select agent_id from late) order by agent_id for no key update skip locked
  ),
  gone as (
    delete from leases where fence = any(array(select fence from late)) and (agent_id in (select agent_id from locked)) is true and ${LATE} returning *
  )`,
  {
    status: 'TIMED_OUT',
    fault: `'agent'`,
    error: `jsonb_build_object('code', 'timeout', 'message', 'ran longer than ' || g.timeout_seconds || ' s')`,
  },
);

/** Sends such a statement. */
export async function reap(sql: Sql, statement: string, limit: number): Promise<Reaped> {
  const rows = await retried(() =>
    sql.unsafe<{ class_id: string; next: string }[]>(statement, [limit], { prepare: true }),
  );
  return { count: rows.length, ready: rows.filter((row) => row.next === 'ready').map((row) => Number(row.class_id)) };
}

/** Takes back what agents hold whose lease has ended. Agents another coordinator has in hand are left to it. */
export const reapLeases = (sql: Sql, limit: number) => reap(sql, LOSE, limit);

/** Ends runs that took longer than they may. Their agents should have; this is for those that cannot. */
export const timeOutRuns = (sql: Sql, limit: number) => reap(sql, TIME_OUT, limit);
