// The bench's own look at a database, and what everybody else's sessions there have used.
import postgres from 'postgres';
import { cpuOfAll } from '../cpu.mjs';

const OURS = 'bench';

export function openSessions(databaseUrl, more = {}) {
  const sql = postgres(databaseUrl, { max: 2, onnotice: () => {}, connection: { application_name: OURS }, ...more });
  return {
    sql,
    /** CPU time of the sessions of the subject, in microseconds. */
    async cpu() {
      const pids = await sql`
        select pid from pg_stat_activity where datname = current_database() and application_name <> ${OURS} and backend_type = 'client backend'`;
      return cpuOfAll(pids.map(({ pid }) => pid));
    },
    close: () => sql.end({ timeout: 1 }),
  };
}
