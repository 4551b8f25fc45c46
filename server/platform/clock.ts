import type { Sql } from './database.ts';

/** Postgres's clock, as the process knows it: for deadlines and token lifetimes, never for a decision about a row. */
export interface Clock {
  now(): Date;
  /** Asks Postgres again; a loop does, and the test kit after it moved the clock. */
  sync(): Promise<void>;
}

/** A clock that keeps its distance to Postgres's. */
export function createClock(sql: Sql): Clock {
  let aheadMs = 0;
  return {
    now: () => new Date(Date.now() + aheadMs),
    async sync() {
      const sent = Date.now();
      const [row] = await sql<[{ now: Date }]>`select muster_now() as now`;
      // The answer was true about half a round trip ago.
      aheadMs = row.now.getTime() - (sent + Date.now()) / 2;
    },
  };
}
