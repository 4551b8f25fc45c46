import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import path from 'node:path';
import { freePort } from '@muster/server/platform/embedded-postgres/server';
import { type Client, createClient } from '@muster/shared/client';
import { KillablePostgres } from './killable-postgres.ts';
import { createDatabase } from './postgres.ts';
import { type ProcessSpec, TestProcess } from './process.ts';
import { programArgs } from './program.ts';
import { scratchFolder } from './scratch.ts';
import { createUndo } from './undo.ts';

type Environment = Record<string, string | undefined>;

/** A coordinator in a process of its own; its address, data folder and database are the same in every life. */
export interface CoordinatorProcess extends TestProcess {
  url: string;
  adminKey: string;
  admin: Client;
  databaseUrl: string | undefined;
}

export interface CoordinatorProcessOptions {
  env?: Environment;
  name?: string;
}

export interface AgentProcessOptions {
  /** The coordinator's, or a proxy's. */
  url: string;
  enrollment_token: string;
  /** More of its command line, e.g. `['--slots', '4', '--enable-script']`. */
  args?: string[];
  env?: Environment;
  name?: string;
  /** Hears each line of its log. */
  hear?: ProcessSpec['hear'];
}

/** Real processes for a test; all of them end with it, and with the test process at the latest. */
export interface Supervisor {
  /** Without `DATABASE_URL` in `env`: on a new database; with it empty: on its own embedded Postgres. */
  coordinator(options?: CoordinatorProcessOptions): Promise<CoordinatorProcess>;
  /** So many of them at once on one database, with one admin key. An empty `DATABASE_URL` is refused: each would be alone with its own. */
  coordinators(count: number, options?: CoordinatorProcessOptions): Promise<CoordinatorProcess[]>;
  agent(options: AgentProcessOptions): Promise<TestProcess>;
  /** `folder`: where its data goes; a scratch folder unless said. */
  postgres(options?: { folder?: string }): Promise<KillablePostgres>;
  /** Any other program. */
  process(spec: ProcessSpec): Promise<TestProcess>;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const { resolve } = createRequire(import.meta.url);
const COORDINATOR = resolve('@muster/server/main');
const AGENT = resolve('@muster/agent').replace(/index(\.\w+)$/, 'main$1');

/** How node runs a program of the product. */
const run = async (program: string) => ({
  command: process.execPath,
  args: await programArgs(program),
  cwd: path.dirname(program),
});

/** Starts a supervisor with nothing to supervise yet. */
export function createSupervisor(): Supervisor {
  /** Backwards, so that agents end before coordinators and these before Postgres. */
  const undo = createUndo();
  const stop = () => undo.all();
  const supervise = async <P extends TestProcess>(started: P): Promise<P> => {
    undo.push(() => started.stop());
    return started.start();
  };
  const folder = (name: string): string => {
    const scratch = scratchFolder(name);
    undo.push(() => scratch.remove());
    return scratch.path;
  };
  /** An environment that names a database and an admin key: new ones unless it does. */
  const settled = async (env: Environment): Promise<Environment> => {
    const { MUSTER_ADMIN_KEY = `test-admin-key-${randomBytes(16).toString('hex')}` } = env;
    const settled = { ...env, MUSTER_ADMIN_KEY };
    if ('DATABASE_URL' in env) return settled;
    const database = await createDatabase();
    undo.push(database.drop);
    return { ...settled, DATABASE_URL: database.url };
  };
  const coordinator = async (name: string, env: Environment) =>
    supervise(await coordinatorProcess(name, folder(name), env));
  return {
    coordinator: async ({ env = {}, name = 'coordinator' } = {}) => coordinator(name, await settled(env)),
    async coordinators(count, { env = {}, name = 'coordinator' } = {}) {
      const one = await settled(env);
      if (!one.DATABASE_URL)
        throw new Error(
          'coordinators are on one database: with an empty DATABASE_URL each would be on its own Postgres',
        );
      return Promise.all(Array.from({ length: count }, (_, n) => coordinator(`${name} ${n}`, one)));
    },
    agent: async (options) => supervise(await agentProcess(options, folder(options.name ?? 'agent'))),
    process: (spec) => supervise(new TestProcess(spec)),
    async postgres(options) {
      const server = await KillablePostgres.start(options);
      undo.push(() => server.stop());
      return server;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function coordinatorProcess(name: string, dataDir: string, env: Environment): Promise<CoordinatorProcess> {
  const adminKey = env.MUSTER_ADMIN_KEY!;
  const port = env.MUSTER_PORT ?? String(await freePort());
  const started = new TestProcess({
    name,
    ...(await run(COORDINATOR)),
    env: { MUSTER_DATA_DIR: dataDir, MUSTER_LOG_LEVEL: 'info', ...env, MUSTER_PORT: port },
    ready: ({ msg }) => msg === 'coordinator ready',
  });
  const url = `${env.MUSTER_TLS_CERT ? 'https' : 'http'}://127.0.0.1:${port}`;
  const admin = createClient({ url, credential: adminKey });
  return Object.assign(started, { url, adminKey, admin, databaseUrl: env.DATABASE_URL || undefined });
}

async function agentProcess(
  { url, enrollment_token, args = [], env, name = 'agent', hear }: AgentProcessOptions,
  keyDir: string,
) {
  const options = ['--url', url, '--name', name, '--key-dir', keyDir, '--log-format', 'json'];
  const { args: program, ...how } = await run(AGENT);
  return new TestProcess({
    name,
    ...how,
    args: [...program, ...options, ...args],
    env: { MUSTER_ENROLLMENT_TOKEN: enrollment_token, ...env },
    ready: ({ event }) => event === 'started',
    ...(hear ? { hear } : {}),
  });
}
