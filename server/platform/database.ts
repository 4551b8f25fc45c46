import { fileURLToPath } from 'node:url';
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { migrate } from 'drizzle-orm/postgres-js/migrator';
import postgres from 'postgres';
import { withDeadline } from './deadline.ts';
import { packageFile } from './package-file.ts';
import { watchedSocket } from './silent-socket.ts';

export type Sql = postgres.Sql;
/** A piece of SQL with its parameters, to be put into another. */
export type Fragment = postgres.PendingQuery<postgres.Row[]> | postgres.Fragment;

/** The named pools. Each statement is a transaction of its own: none of these is ever used for `begin()`. */
export interface Database {
  url: string;
  /** Claims, results, submits, beats: prepared, generic plans, no plan that reads a whole table. */
  hot: Sql;
  /** Everything an admin asks for. */
  admin: Sql;
  /** The loops: no list an admin asks for may hold up the beat. */
  loops: Sql;
  /** Drizzle on a client of its own: it changes the serialisers of the client it wraps. */
  orm: PostgresJsDatabase;
  /**
   * One connection, for what takes several statements a transaction: they begin and end it themselves. (Where a connection is lost in the
   * driver's own `begin`, it throws where nobody can catch it.)
   */
  session: Sql;
  close(): Promise<void>;
}

/** How long a statement may run, in milliseconds. A hot one takes far less than a lease, or leases would end by it. */
const STATEMENT_MS = { hot: 5_000, admin: 15_000, loops: 10_000 };
/** How much longer than its statements may run a connection may owe an answer, in milliseconds. */
const SILENCE_SLACK_MS = 1_500;

const common = {
  fetch_types: false,
  connect_timeout: 3,
  // None is sent behind the one that runs: a statement waits for the first connection that is free, however long another's takes.
  max_pipeline: 0,
  // The driver's own backoff waits for seconds; the caller has given up by then.
  backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 1),
  onnotice: () => {},
} as const;

/** What a pool's sessions are told, and how it notices that one is dead. */
const pool = (name: keyof typeof STATEMENT_MS, settings: Record<string, string> = {}) => ({
  ...common,
  socket: watchedSocket(STATEMENT_MS[name] + SILENCE_SLACK_MS),
  connection: {
    application_name: `muster ${name}`,
    statement_timeout: STATEMENT_MS[name],
    jit: 'off',
    ...settings,
  } as never,
});

/** The type of text[]. */
const TEXTS = 1009;

/**
 * A pool in which arrays come and go as arrays. That takes the driver a look at the catalogue, and one that fails is a rejection nobody
 * handles: the end of a process that does not expect it, as `start` does. So no connection looks once one has. (After that the driver's
 * `reserve` would wait for ever on a new connection; `begin` does not.)
 */
function withArrays(url: string, options: ReturnType<typeof pool> & { max: number }): Sql {
  const socket = (target: Parameters<typeof options.socket>[0]) => {
    if (TEXTS in sql.options.parsers) sql.options.fetch_types = false;
    return options.socket(target);
  };
  const looking = { ...options, fetch_types: true, socket };
  const sql: Sql = postgres(url, looking);
  return sql;
}

/** Opens the pools; nothing is connected before the first statement. */
export function openDatabase(url: string, { hotConnections = 8, adminConnections = 4 } = {}): Database {
  const hot = postgres(url, {
    // A generic plan takes every part of a statement for one row: joined by loops, a batch of 500 results read a quarter of a million.
    ...pool('hot', {
      plan_cache_mode: 'force_generic_plan',
      enable_seqscan: 'off',
      enable_mergejoin: 'off',
      enable_nestloop: 'off',
    }),
    max: hotConnections,
  });
  const admin = withArrays(url, { ...pool('admin'), max: adminConnections });
  const loops = withArrays(url, { ...pool('loops'), max: 2 });
  const session = postgres(url, { ...pool('loops'), max: 1, idle_timeout: 5 });
  const client = postgres(url, { ...pool('admin'), max: 2 });
  return {
    url,
    hot,
    admin,
    loops,
    orm: drizzle(client),
    session,
    async close() {
      await Promise.all([hot, admin, loops, session, client].map(endPool));
    },
  };
}

/** How long a pool that is ended has to come to what waits, and then to finish what runs, in seconds. */
const END_SECONDS = 2;

/**
 * Ends a pool. The driver's `end` waits for what runs, and forgets what waits its turn: connections come back for that, and stay for ever.
 * So a statement goes behind all others: once its turn has come, however it ends, none waits; where it does not come, all are given up.
 */
async function endPool(pool: Sql): Promise<void> {
  // A connection made for that has no use for arrays: see `withArrays` for what becomes of a look that is cut off.
  pool.options.fetch_types = false;
  const last = pool`select 1`.catch(() => {});
  const timeout = await withDeadline(last, END_SECONDS * 1_000).then(
    () => END_SECONDS,
    () => 0,
  );
  await pool.end({ timeout });
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
  const client = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
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

/** What stands for itself only after a backslash. */
const ESCAPED = /["\\]/;

type Item = string | number | boolean | Date | null | undefined;

/** A Postgres array literal: the hot pool hands arrays over as text, each parsed once by the statement. */
export function arrayLiteral(values: readonly Item[]): string {
  // What stands beside each other is often the same: a batch has one owner, one type, one timeout.
  let before: Item = null;
  let item = itemOf(before);
  const items = values.map((value) => {
    if (value !== before) item = itemOf(value);
    before = value;
    return item;
  });
  return `{${items.join(',')}}`;
}

function itemOf(value: Item): string {
  if (value === null || value === undefined) return 'NULL';
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const text = value instanceof Date ? value.toISOString() : value;
  return ESCAPED.test(text) ? `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : `"${text}"`;
}

/** The numbers of an array as the hot pool answers it. */
export const numbersOf = (literal: string): number[] =>
  literal === '{}' ? [] : literal.slice(1, -1).split(',').map(Number);
