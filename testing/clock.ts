import { durationMs } from '@muster/shared/duration';
import type { Sql } from 'postgres';
import { tooLate } from './eventually.ts';

export interface AdvanceOptions {
  /** `kept`: the agents beat all the while, so their leases live on. `missed`: nobody was heard of in that time. */
  beats?: 'kept' | 'missed';
  /** `kept`: the clock stops at every due time of a schedule on its way, and each fires when it is due. `missed` (the default): the coordinators find them all at the end. */
  schedules?: 'kept' | 'missed';
}

export interface RunOptions extends AdvanceOptions {
  /** How far the clock moves between two looks; a second unless said. */
  step?: string | number;
  /** How far it moves at most; a day unless said. */
  atMost?: string | number;
}

/** The clock of one test database, which all its coordinators go by. */
export interface TestClock {
  now(): Promise<Date>;
  /** Lets time pass: `'3d'`, `'250ms'`, milliseconds. Afterwards every coordinator has run each of its loops once. */
  advance(by: string | number, options?: AdvanceOptions): Promise<void>;
  /** Lets time pass until then: a date, or RFC 3339. */
  setTo(at: Date | string, options?: AdvanceOptions): Promise<void>;
  /** Lets time pass, step by step, until `check` neither throws nor answers `false`, and answers what it answered. Fails with its last failure. */
  runUntil<T>(check: () => T | Promise<T>, options?: RunOptions): Promise<Exclude<Awaited<T>, false>>;
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

/** How often the clock stops for schedules on one way: enough for a month of one that fires every five minutes. */
const MOST_STOPS = 10_000;

/** The clock of a database made by `createDatabase`. */
export function testClock(sql: Sql, databaseUrl: string): TestClock {
  const now = async () => {
    const [row] = await sql<[{ now: Date }]>`select muster_now() as now`;
    return row.now;
  };
  const move = async (ms: number, beats: AdvanceOptions['beats']) => {
    await moveClock(sql, ms, beats === 'kept');
    await Promise.all([...(ticks.get(databaseUrl) ?? [])].map((tick) => tick()));
  };
  const clock: TestClock = {
    now,
    async advance(by, { beats = 'kept', schedules = 'missed' } = {}) {
      const ms = durationMs(by);
      if (!(ms >= 0)) throw new RangeError(`time does not pass backwards: ${by}`);
      let left = ms;
      if (schedules === 'kept') {
        const until = (await now()).getTime() + ms;
        for (let stops = 0, at = await firstDue(sql, until); at; at = await firstDue(sql, until)) {
          if (++stops > MOST_STOPS) throw new RangeError(`schedules are due more than ${MOST_STOPS} times in ${by}`);
          await move(Math.max(0, at.getTime() - (await now()).getTime()), beats);
        }
        left = Math.max(0, until - (await now()).getTime());
      }
      await move(left, beats);
    },
    async setTo(at, options) {
      const ms = new Date(at).getTime() - (await now()).getTime();
      if (!(ms >= 0)) throw new RangeError(`${at} is no time that is to come`);
      await clock.advance(ms, options);
    },
    async runUntil<T>(check: () => T | Promise<T>, { step = '1s', atMost = '1d', ...options }: RunOptions = {}) {
      const last = (await now()).getTime() + durationMs(atMost);
      for (;;) {
        try {
          const result = await check();
          if (result !== false) return result as Exclude<Awaited<T>, false>;
          throw new Error('it is still false');
        } catch (failure) {
          if ((await now()).getTime() >= last) throw tooLate(failure, `not within ${atMost} on the clock`);
        }
        await clock.advance(step, options);
      }
    },
  };
  return clock;
}

/** When a schedule fires next, no later than `until`. What is overdue has fired as far as it will. */
async function firstDue(sql: Sql, until: number): Promise<Date | null> {
  const [row] = await sql<[{ at: Date | null }]>`
    select min(fire_at) as at from schedules
    where status = 'ACTIVE' and fire_at > (select muster_now()) and fire_at <= ${new Date(until)}`;
  return row.at;
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
