import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Identity } from './cluster.ts';
import { EmbeddedPostgresError } from './error.ts';
import { findProcess } from './process.ts';
import { afterOurEnd } from './watchdog.ts';

/** A Postgres that runs and answers. */
export interface Server {
  pid: number;
  port: number;
  adopted: boolean;
  /** Ends the watchdog without effect. */
  release(): void;
}

const POLL_MS = 15;
const START_TRIES = 30;
/** The port was taken in between, or sessions of a server that was killed have yet to see that it is gone. */
const PASSING_TROUBLE = /Address already in use|pre-existing shared memory block/;
/** How long a server may take to stop in order; then it is told to stop at once, which its next start recovers from. */
const STOP_MS = 10_000;

/** The server that still runs on the cluster in `folder`, once it answers; undefined when there is none. */
export async function adoptServer(folder: string): Promise<Server | undefined> {
  // The watchdog of a parent killed a moment ago may be about to stop it: look again after a while.
  if (readPidFile(folder)) await pause(100);
  for (let found = readPidFile(folder); found; found = readPidFile(folder)) {
    if (!isServerOf(folder, found.pid)) {
      disown(folder);
      return undefined;
    }
    if (found.ready) return { ...found, adopted: true, release: stopAfterUs(found.pid) };
    await pause(POLL_MS);
  }
  return undefined;
}

/** Starts the server `postgres` on the cluster in `folder`, and waits until it answers. */
export async function startServer(
  folder: string,
  postgres: string,
  identity: Identity,
  { flags = [], port: wanted }: { flags?: string[] | undefined; port?: number | undefined },
): Promise<Server> {
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200', 'timezone=UTC'];
  const options = [...settings.flatMap((setting) => ['-c', setting]), ...flags];
  for (let tries = 1; ; tries += 1) {
    const port = wanted ?? (await freePort());
    const server = launch(folder, [postgres, '-D', folder, '-p', String(port), ...options], identity);
    // No deadline: recovery after a crash takes as long as it takes.
    for (; !server.exited(); await pause(POLL_MS)) {
      const found = readPidFile(folder);
      if (found?.ready && found.pid === server.pid) return { ...server, port, adopted: false };
    }
    const log = readFileSync(logFile(folder), 'utf8').slice(-4_000);
    if (tries === START_TRIES || !PASSING_TROUBLE.test(log)) {
      throw new EmbeddedPostgresError(`embedded Postgres did not start in ${folder}:\n${log}`);
    }
    await pause(100);
  }
}

/** Stops a server in order, by force if it does not listen, and waits until its process is gone. */
export async function stopServer(folder: string, { pid, release }: Server): Promise<void> {
  const life = isServerOf(folder, pid) ? findProcess(pid)?.life : undefined;
  const started = performance.now();
  for (let sent = ''; life && findProcess(pid)?.life === life; await pause(POLL_MS)) {
    const waited = performance.now() - started;
    const signal = waited < STOP_MS ? 'SIGINT' : waited < 2 * STOP_MS ? 'SIGQUIT' : 'SIGKILL';
    if (signal !== sent) trySignal(pid, signal);
    sent = signal;
  }
  release();
}

/** A free port below those that systems lend to clients, so that it is still free when its server comes back to it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
}

const pidFile = (folder: string): string => path.join(folder, 'postmaster.pid');
const logFile = (folder: string): string => `${folder}.log`;
const stopAfterUs = (pid: number): (() => void) => afterOurEnd('kill -INT "$1"', String(pid));

/** What the server in `folder` says of itself; undefined when none runs. */
function readPidFile(folder: string): { pid: number; port: number; ready: boolean } | undefined {
  try {
    const lines = readFileSync(pidFile(folder), 'utf8').split('\n');
    return { pid: Number(lines[0]), port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' };
  } catch {
    return undefined;
  }
}

/** Whether the process with this number is the server of this cluster, and not one that has the number of a dead one. */
function isServerOf(folder: string, pid: number): boolean {
  const found = findProcess(pid);
  return !!found?.name.includes('postgres') && (!found.folder || found.folder === realpathSync(folder));
}

/**
 * After a power cut postmaster.pid may name a process that is another one now, and Postgres would not start beside it. Nor
 * may the file go: it also leads to the memory of sessions that could still write. Postgres takes its parent's number for
 * an old one and then looks at that memory.
 */
function disown(folder: string): void {
  const [, ...rest] = readFileSync(pidFile(folder), 'utf8').split('\n');
  writeFileSync(pidFile(folder), [process.pid, ...rest].join('\n'));
}

/** Its log goes to a file, not a pipe: a pipe nobody reads would stop the server, and an adopted one outlives the reader. */
function launch(folder: string, program: string[], { wrap, env, ids }: Identity) {
  if (existsSync(logFile(folder))) renameSync(logFile(folder), `${logFile(folder)}.1`);
  const log = openSync(logFile(folder), 'a', 0o600);
  const [command, ...args] = wrap(program);
  const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log], env, ...ids });
  closeSync(log);
  child.once('error', () => {});
  if (child.pid === undefined) throw new EmbeddedPostgresError(`${command} could not be run`);
  child.unref();
  const release = stopAfterUs(child.pid);
  child.once('exit', release);
  return { pid: child.pid, release, exited: () => child.exitCode !== null || child.signalCode !== null };
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // Gone a moment ago.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
