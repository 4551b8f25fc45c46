// The bench's own look at a database, and what everybody else's sessions there have used.
import postgres from 'postgres';
import { cpuOf } from '../cpu.mjs';

const OURS = 'bench';

export function openSessions(databaseUrl, more = {}) {
  const sql = postgres(databaseUrl, { max: 2, onnotice: () => {}, connection: { application_name: OURS }, ...more });
  /** What each session had used when it was last seen: pools close those they do not need. */
  const seen = new Map();
  return {
    sql,
    /** CPU time of the sessions of the subject so far, in microseconds. */
    async cpu() {
      const pids = await sql`
        select pid from pg_stat_activity where datname = current_database() and application_name <> ${OURS} and backend_type = 'client backend'`;
      for (const { pid } of pids) seen.set(pid, cpuOf(pid));
      return [...seen.values()].reduce((sum, used) => sum + used, 0);
    },
    close: () => sql.end({ timeout: 1 }),
  };
}
