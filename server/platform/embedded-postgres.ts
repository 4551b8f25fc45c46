import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import postgres from 'postgres';
import { type Binaries, findBinaries, platformName } from './embedded-postgres-binaries.ts';
import { type Identity, POSTGRES_USER, postgresIdentity, prepareCluster } from './embedded-postgres-cluster.ts';
import { isAlive, lockDataDir } from './embedded-postgres-lock.ts';

export { lockDataDir } from './embedded-postgres-lock.ts';

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

/** What must happen to a running server whatever becomes of this process. */
interface Server {
  pid: number;
  port: number;
  adopted: boolean;
  /** Ends the watchdog without effect. */
  release(): void;
}

const POLL_MS = 15;
/** How long a server may take to stop in order; then it is told to stop at once, which its next start recovers from. */
const STOP_MS = 10_000;

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
    const identity = postgresIdentity();
    const password = await prepareCluster(folder, binaries, identity);
    server = (await adoptServer(folder)) ?? (await startServer(folder, binaries, identity, options));
    const base = `postgres://${POSTGRES_USER}:${password}@127.0.0.1:${server.port}`;
    const database = options.database ?? 'muster';
    await ensureDatabase(base, database);
    return { url: `${base}/${database}`, pid: server.pid, adopted: server.adopted, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What the server in `folder` says of itself; undefined when none runs. */
function readPidFile(folder: string): { pid: number; port: number; ready: boolean } | undefined {
  try {
    const lines = readFileSync(path.join(folder, 'postmaster.pid'), 'utf8').split('\n');
    return { pid: Number(lines[0]), port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' };
  } catch {
    return undefined;
  }
}

async function adoptServer(folder: string): Promise<Server | undefined> {
  // The watchdog of a parent killed a moment ago may be about to stop it: look again after a while.
  if (readPidFile(folder)) await pause(100);
  for (let found = readPidFile(folder); found; found = readPidFile(folder)) {
    if (!isPostgres(found.pid)) {
      // Left by a power cut. Postgres would take any process that has the number now for its own.
      rmSync(path.join(folder, 'postmaster.pid'), { force: true });
    } else if (found.ready) {
      return { pid: found.pid, port: found.port, adopted: true, release: startWatchdog(found.pid) };
    } else {
      await pause(POLL_MS);
    }
  }
  return undefined;
}

function isPostgres(pid: number): boolean {
  if (!isAlive(pid)) return false;
  try {
    return /postgres/.test(execFileSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' }));
  } catch {
    return process.platform === 'win32';
  }
}

async function startServer(
  folder: string,
  binaries: Binaries,
  identity: Identity,
  { flags = [], port: wanted }: EmbeddedPostgresOptions,
): Promise<Server> {
  for (let tries = 1; ; tries += 1) {
    const port = wanted ?? (await freePort());
    const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200', 'timezone=UTC'];
    const options = [...settings.flatMap((setting) => ['-c', setting]), ...flags];
    const server = launch(
      folder,
      identity.wrap([binaries.postgres, '-D', folder, '-p', String(port), ...options]),
      identity,
    );
    let found = readPidFile(folder);
    while (!server.exited() && !(found?.ready && found.pid === server.pid)) {
      await pause(POLL_MS);
      found = readPidFile(folder);
    }
    if (!server.exited()) return { pid: server.pid, port, adopted: false, release: server.release };
    const log = readFileSync(logFile(folder), 'utf8').slice(-4_000);
    if (wanted || tries === 4 || !log.includes('Address already in use')) {
      throw new Error(`embedded Postgres did not start in ${folder}:\n${log}`);
    }
  }
}

/** Its log goes to a file, not a pipe: a pipe nobody reads would stop the server, and an adopted one outlives the reader. */
function launch(folder: string, [command, ...args]: [string, ...string[]], { ids }: Identity) {
  if (existsSync(logFile(folder))) renameSync(logFile(folder), `${logFile(folder)}.1`);
  const log = openSync(logFile(folder), 'a', 0o600);
  // Only PATH: the coordinator's own environment holds secrets.
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { PATH: process.env.PATH },
    ...ids,
  });
  closeSync(log);
  if (child.pid === undefined) throw new Error(`${command} could not be run`);
  child.unref();
  const release = startWatchdog(child.pid);
  let exited = false;
  child.once('exit', () => {
    exited = true;
    release();
  });
  return { pid: child.pid, exited: () => exited, release };
}

const logFile = (folder: string): string => `${folder}.log`;

/**
 * A shell that waits on a pipe from this process. The pipe ends when we do, even by SIGKILL, and then it stops the server
 * in order. (Linux has pdeathsig for this, but it is tied to a thread, is Linux's alone, and an adopted server has none.)
 */
function startWatchdog(pid: number): () => void {
  const script = 'trap "" HUP INT TERM; read -r word || kill -INT "$1"';
  const watchdog = spawn('sh', ['-c', script, 'muster-watchdog', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watchdog.on('error', () => {});
  watchdog.stdin.on('error', () => {});
  watchdog.unref();
  // The pipe alone must not keep this process running.
  (watchdog.stdin as unknown as { unref(): void }).unref();
  return () => watchdog.stdin.end('released\n');
}

async function stopServer(folder: string, server: Server): Promise<void> {
  const running = () => readPidFile(folder)?.pid === server.pid && isAlive(server.pid);
  if (running()) process.kill(server.pid, 'SIGINT');
  const deadline = performance.now() + STOP_MS;
  while (running()) {
    if (performance.now() > deadline) process.kill(server.pid, 'SIGQUIT');
    await pause(POLL_MS);
  }
  server.release();
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

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
