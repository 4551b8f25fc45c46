import { fileURLToPath } from 'node:url';
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { migrate } from 'drizzle-orm/postgres-js/migrator';
import postgres from 'postgres';
import { packageFile } from './package-file.ts';

export type Sql = postgres.Sql;
/** A piece of SQL with its parameters, to be put into another. */
export type Fragment = postgres.PendingQuery<postgres.Row[]> | postgres.Fragment;

/** The named pools. Each statement is a transaction of its own: none of these is ever used for `begin()`. */
export interface Database {
  url: string;
  /** Claims, results, submits, beats: prepared, generic plans, no plan that reads a whole table. */
  hot: Sql;
  /** Everything an admin asks for, and the loops. */
  admin: Sql;
  /** Drizzle on a client of its own: it changes the serialisers of the client it wraps. */
  orm: PostgresJsDatabase;
  close(): Promise<void>;
}

/** How long a statement may take before its caller is told that the database is not there, in milliseconds. */
const STATEMENT_DEADLINE_MS = 30_000;

const common = {
  fetch_types: false,
  connect_timeout: 3,
  // The driver's own backoff waits for seconds; the caller has given up by then.
  backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 1),
  onnotice: () => {},
} as const;

/** Opens the pools; nothing is connected before the first statement. */
export function openDatabase(url: string, { hotConnections = 8, adminConnections = 4 } = {}): Database {
  const hot = postgres(url, {
    ...common,
    max: hotConnections,
    connection: {
      application_name: 'muster hot',
      statement_timeout: STATEMENT_DEADLINE_MS,
      plan_cache_mode: 'force_generic_plan',
      jit: 'off',
      enable_seqscan: 'off',
      enable_mergejoin: 'off',
    } as never,
  });
  const connection = {
    application_name: 'muster admin',
    statement_timeout: STATEMENT_DEADLINE_MS,
    jit: 'off',
  } as never;
  // Arrays come and go as arrays here, which takes the driver one look at the catalogue.
  const admin = postgres(url, { ...common, fetch_types: true, max: adminConnections, connection });
  const client = postgres(url, { ...common, max: 2, connection });
  return {
    url,
    hot,
    admin,
    orm: drizzle(client),
    async close() {
      await Promise.all([hot, admin, client].map((pool) => pool.end({ timeout: 2 })));
    },
  };
}

/** A database that must not be used, and why. */
export class DatabaseRefused extends Error {
  override name = 'DatabaseRefused';
}

/** Refuses a server that is too old or that may lose what it acknowledged. */
export async function checkServer(url: string): Promise<void> {
  const sql = postgres(url, { ...common, max: 1 });
  try {
    const [it] = await sql<[{ version: number; version_text: string; fsync: string; full_page_writes: string }]>`
      select current_setting('server_version_num')::int as version, current_setting('server_version') as version_text,
        current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes`;
    if (it.version < 150_000)
      throw new DatabaseRefused(`Postgres ${it.version_text} is too old: 15 or newer is needed`);
    for (const name of ['fsync', 'full_page_writes'] as const) {
      if (it[name] !== 'on')
        throw new DatabaseRefused(
          `Postgres has ${name} = ${it[name]}: what it acknowledges could be lost; set it to on`,
        );
    }
  } catch (error) {
    if (error instanceof DatabaseRefused) throw error;
    const { code, message } = error as { code?: string; message: string };
    throw new DatabaseRefused(`DATABASE_URL: the server cannot be used: ${message || code}`, { cause: error });
  } finally {
    await sql.end({ timeout: 2 });
  }
}

/** Brings the tables up to date. Any number of coordinators may do so at once: one migrates, the others wait. */
export async function migrateDatabase(url: string): Promise<void> {
  // One connection, because the advisory lock belongs to the session.
  const client = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await client`select pg_advisory_lock(hashtext('muster-migrate'))`;
    await migrate(drizzle(client), { migrationsFolder: fileURLToPath(packageFile('drizzle')) });
    await client`select pg_advisory_unlock(hashtext('muster-migrate'))`;
  } finally {
    await client.end({ timeout: 2 });
  }
}

/** Listens on a channel with a connection of its own, which comes back after a loss. What was said in between is lost. */
export async function listen(
  url: string,
  channel: string,
  heard: (payload: string) => void,
): Promise<{ stop(): Promise<void> }> {
  const sql = postgres(url, { ...common, max: 1, connection: { application_name: 'muster listen' } });
  await sql.listen(channel, heard);
  return { stop: () => sql.end({ timeout: 1 }) };
}

/** A Postgres array literal: the hot pool hands arrays over as text, each parsed once by the statement. */
export function arrayLiteral(values: readonly (string | number | boolean | Date | null | undefined)[]): string {
  const items = values.map((value) => {
    if (value === null || value === undefined) return 'NULL';
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    const text = value instanceof Date ? value.toISOString() : value;
    return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  });
  return `{${items.join(',')}}`;
}
