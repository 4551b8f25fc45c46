// One Postgres with default durability, a database of its own for each subject, and the subjects.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '@muster/server/platform/embedded-postgres/start';
import postgres from 'postgres';
import { childrenOf, cpuOfAll } from './cpu.mjs';
import { startProcess } from './process.mjs';
import { startBareHono } from './subjects/bare-hono.mjs';
import { startInProcess } from './subjects/in-process.mjs';
import { startMuster } from './subjects/muster.mjs';
import { unfolded } from './subjects/unfolded.mjs';

/** The Node the peers need is newer than ours. */
const PEERS_NODE = new URL('peers/node_modules/node/bin/node', import.meta.url).pathname;

/** Starts what is to be measured, by name. */
export async function openStage(names) {
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-queue-bench-'));
  // To look into it: BENCH_POSTGRES_ARGS='-c shared_preload_libraries=auto_explain …', BENCH_NODE_ARGS=--cpu-prof, BENCH_KEEP=1.
  const server = await startEmbeddedPostgres({ dataDir, flags: process.env.BENCH_POSTGRES_ARGS?.split(' ') ?? [] });
  const sql = postgres(server.url, { max: 1, onnotice: () => {}, connection: { application_name: 'bench' } });
  const [agents, driver] = ['load/agents.mjs', 'load/driver.mjs'].map((file) => startProcess(file));

  const databaseFor = async (name) => {
    await sql`create database ${sql(name)}`;
    const url = new URL(server.url);
    url.pathname = name;
    return url.href;
  };
  const starters = {
    muster: async () => startMuster({ databaseUrl: await databaseFor('bench_muster'), dataDir, agents, driver }),
    unfolded: async () => {
      const databaseUrl = await databaseFor('bench_unfolded');
      return startMuster({ name: 'unfolded', dist: unfolded(), databaseUrl, dataDir, agents, driver });
    },
    hono: () => startBareHono({ agents, driver }),
    postgres: async () =>
      startInProcess({ name: 'postgres', file: 'bare/postgres.mjs', databaseUrl: await databaseFor('bench_bare') }),
    'graphile-worker': async () =>
      startInProcess({
        name: 'graphile-worker',
        file: 'peers/graphile.mjs',
        execPath: PEERS_NODE,
        databaseUrl: await databaseFor('bench_graphile'),
      }),
    'pg-boss': async () =>
      startInProcess({
        name: 'pg-boss',
        file: 'peers/pg-boss.mjs',
        execPath: PEERS_NODE,
        databaseUrl: await databaseFor('bench_boss'),
      }),
  };
  const subjects = [];
  for (const name of names) subjects.push(await starters[name]());
  const [{ version }] = await sql`select current_setting('server_version') as version`;
  return {
    subjects,
    version,
    /** Writes out what one subject left, so that the next does not pay for it. */
    settle: () => sql`checkpoint`,
    /** CPU time of the whole server, in microseconds. */
    serverCpu: () => cpuOfAll(childrenOf(server.pid)),
    async close() {
      for (const subject of subjects) await subject.close();
      await Promise.all([agents.stop(), driver.stop(), sql.end({ timeout: 1 })]);
      await server.stop();
      if (process.env.BENCH_KEEP) console.log(`kept ${dataDir}`);
      else rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
