import type { Sql } from './database.ts';

/** Postgres's clock, as the process knows it: for deadlines and token lifetimes, never for a decision about a row. */
export interface Clock {
  now(): Date;
  /** Now, as a Date header says it: agents go by it where their own clocks are wrong, and this machine's may be wrong too. */
  date(): string;
  /** Asks Postgres again; a loop does, and the test kit after it moved the clock. */
  sync(): Promise<void>;
}

/** A clock that keeps its distance to Postgres's. Between two looks it goes by one that never jumps. */
export function createClock(sql: Sql): Clock {
  let aheadMs = Date.now() - performance.now();
  let dated = { second: 0, text: '' };
  const nowMs = () => performance.now() + aheadMs;
  return {
    now: () => new Date(nowMs()),
    date() {
      const second = Math.floor(nowMs() / 1_000);
      if (second !== dated.second) dated = { second, text: new Date(second * 1_000).toUTCString() };
      return dated.text;
    },
    async sync() {
      const sent = performance.now();
      const [row] = await sql<[{ now: Date }]>`select muster_now() as now`;
      // The answer was true about half a round trip ago.
      aheadMs = row.now.getTime() - (sent + performance.now()) / 2;
    },
  };
}
