import { durationMs } from '@muster/shared/duration';
import type { Sql } from 'postgres';

export interface AdvanceOptions {
  /** `kept`: the agents beat all the while, so their leases live on. `missed`: nobody was heard of in that time. */
  beats?: 'kept' | 'missed';
}

/** The clock of one test database, which all its coordinators go by. */
export interface TestClock {
  now(): Promise<Date>;
  /** Lets time pass: `'3d'`, `'250ms'`, milliseconds. Afterwards every coordinator has run each of its loops once. */
  advance(by: string | number, options?: AdvanceOptions): Promise<void>;
}

type Tick = () => Promise<void>;

/** The coordinators of this process, by database. */
const ticks = new Map<string, Set<Tick>>();

/** Ticks a coordinator whenever the clock of its database moves, until the returned function is called. */
export function tickWithClock(databaseUrl: string, tick: Tick): () => void {
  const ofDatabase = ticks.get(databaseUrl) ?? new Set();
  ticks.set(databaseUrl, ofDatabase.add(tick));
  return () => void ofDatabase.delete(tick);
}

/** The clock of a database made by `createDatabase`. */
export function testClock(sql: Sql, databaseUrl: string): TestClock {
  return {
    async now() {
      const [row] = await sql<[{ now: Date }]>`select muster_now() as now`;
      return row.now;
    },
    async advance(by, { beats = 'kept' } = {}) {
      const ms = durationMs(by);
      if (!(ms >= 0)) throw new RangeError(`time does not pass backwards: ${by}`);
      await moveClock(sql, ms, beats === 'kept');
      await Promise.all([...(ticks.get(databaseUrl) ?? [])].map((tick) => tick()));
    },
  };
}

/**
 * One statement, because nobody may see some of it: coordinators beat all the while (else they would take the jump for an
 * outage and wait a lease before they reap), and with `kept` the agents that live do too.
 */
async function moveClock(sql: Sql, ms: number, beatsKept: boolean): Promise<void> {
  await sql`
    with step as materialized (select ${ms}::float8 * interval '1 millisecond' as by, muster_now() as before),
    clock as (update muster_clock set ahead = ahead + step.by from step),
    network as (update cluster set beat_at = beat_at + step.by, steady_since = steady_since + step.by from step),
    peers as (update coordinators set beat_at = beat_at + step.by from step)
    update presence set last_seen_at = last_seen_at + step.by, lease_expires_at = lease_expires_at + step.by
    from step where ${beatsKept} and lease_expires_at > step.before`;
}
