// The coordinator under test, as `npm run build` makes it, in a process of its own, with what a production user would set and nothing else.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { insertTasks } from '@muster/server/tasks/store/submit';
import { newId } from '@muster/shared/ids';
import { cpuOf, residentMb } from '../cpu.mjs';
import { startProcess } from '../process.mjs';
import { makeFleet, makeSigningKey } from './fleet.mjs';
import { overHttp } from './over-http.mjs';
import { openSessions } from './sessions.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FILL_AT_ONCE = 1_000;
/** What the key of a program that submits in bulk would be allowed. */
const REQUESTS_PER_MINUTE = 10_000_000;
const PEERS_KNOW_MS = 2_500;
/** A task that so many agents died of is given up. */
const DEADLY = 3;
/** Longer than it takes to see that the last of them is gone. */
const GIVEN_UP_MS = 60_000;

/** Starts a coordinator as it is shipped, compiled, and waits for its first word that it is ready. */
export async function startCoordinator(env, dist = 'dist') {
  const args = process.env.BENCH_NODE_ARGS?.split(' ') ?? [];
  const child = spawn(process.execPath, [...args, `server/${dist}/main.js`], {
    cwd: process.env.BENCH_TREE ?? ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, MUSTER_PORT: '0', ...env },
  });
  let output = '';
  const url = await new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      output += chunk;
      const [, found] = /"url":"([^"]+)".*coordinator ready/.exec(output) ?? [];
      if (found) resolve(found);
    });
    child.once('exit', () => reject(new Error(`the coordinator ended:\n${output}`)));
  });
  child.stdout.removeAllListeners('data').resume();
  const stop = async () => {
    const ended = once(child.removeAllListeners('exit'), 'exit');
    child.kill('SIGTERM');
    await ended;
  };
  return { pid: child.pid, port: Number(new URL(url).port), url, stop };
}

/** `dist`: the folder of the server the build is in. */
export async function startMuster({ name = 'muster', dist = 'dist', databaseUrl, dataDir, agents, driver }) {
  const signingKey = makeSigningKey();
  const adminKey = `bench-${randomBytes(24).toString('hex')}`;
  const env = {
    DATABASE_URL: databaseUrl,
    MUSTER_DATA_DIR: dataDir,
    MUSTER_ADMIN_KEY: adminKey,
    MUSTER_SIGNING_KEY: JSON.stringify(signingKey),
  };
  const coordinator = await startCoordinator(env, dist);
  const ask = async (path, body) => {
    const headers = { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' };
    const answered = await fetch(`${coordinator.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!answered.ok) throw new Error(`${path} answered ${answered.status}: ${await answered.text()}`);
    return answered.json();
  };
  const allowed = { scopes: ['tasks:write'], requests_per_minute: REQUESTS_PER_MINUTE };
  const { api_key: key } = await ask('/ains/api-keys', { name: 'bench', owner: 'bench', ...allowed });
  const { port } = coordinator;
  const sessions = openSessions(databaseUrl);
  // As the coordinator inserts them: arrays go as text.
  const hot = openSessions(databaseUrl, { fetch_types: false });
  const { sql } = sessions;
  const { paths } = await (await fetch(`${coordinator.url}/openapi.json`)).json();
  // What is filled in needs a class; a task that is submitted makes it.
  await driver.ask('open', { port, key, connections: 1 });
  await driver.ask('flood', { count: 1, inFlight: 1 });
  const [{ class_id }] = await sql`select class_id::int from classes`;
  await sql`truncate ready`;
  return {
    name,
    ...overHttp({ agents, driver, port, key, fleetOf: (size) => makeFleet(sql, signingKey, size) }),
    lacksBulk: !paths['/aitp/tasks/batch'] && 'there is no POST /aitp/tasks/batch yet',
    /** Puts tasks into the queue by the statement submits use. */
    async fill(count) {
      for (let left = count; left > 0; left -= FILL_AT_ONCE)
        await insertTasks(
          hot.sql,
          Array.from({ length: Math.min(left, FILL_AT_ONCE) }, () => noop(class_id)),
        );
    },
    /** Forgets what is queued: it was submitted to be counted. */
    empty: () => sql`truncate ready`,
    async cpu() {
      return {
        postgres: await sessions.cpu(),
        process: cpuOf(coordinator.pid),
        load: cpuOf(agents.pid) + cpuOf(driver.pid),
      };
    },
    residentMb: () => residentMb(coordinator.pid),
    /** So many tasks kill one agent after another until they are given up; how many then are. */
    async poison(count) {
      const body = { task_type: 'poison', input_data: null, max_retries: 10, retry_policy: 'fixed', retry_base_ms: 1 };
      for (let n = 0; n < count; n += 1) await ask('/aitp/tasks', body);
      const doomed = startProcess('load/agents.mjs');
      for (let lives = 0; lives < DEADLY; lives += 1) {
        const fleet = await makeFleet(sql, signingKey, { count, slots: 1, capability: 'poison' });
        await doomed.ask('open', { port, fleet });
        await doomed.ask('die');
      }
      await doomed.stop();
      const givenUp = () => sql`select count(*)::int as n from runs where error ->> 'code' = 'poison'`;
      for (const until = performance.now() + GIVEN_UP_MS; ; await pause(1_000)) {
        const [{ n }] = await givenUp();
        if (n === count || performance.now() > until) return n;
      }
    },
    /** Another coordinator on the same database; by then they know of each other. */
    async startPeer() {
      const peer = await startCoordinator(env);
      await pause(PEERS_KNOW_MS);
      return { port: peer.port, close: peer.stop };
    },
    async close() {
      await Promise.all([sessions.close(), hot.close(), coordinator.stop()]);
    },
  };
}

const noop = (class_id) => ({
  task_id: newId('task'),
  class_id,
  owner: 'bench',
  client_id: null,
  task_type: 'noop',
  capability_required: 'noop',
  input_data: '{"at":0}',
  priority: 5,
  timeout_seconds: 300,
  max_retries: 3,
  retry_policy: 'exponential',
  retry_base_ms: 1_000,
  retry_cap_ms: 300_000,
  retry_jitter: true,
  non_retryable: [],
  task_timeout_seconds: null,
  tags: [],
  metadata: '{}',
  unique_key: null,
  concurrency_key: null,
  depends_on: [],
  on_dependency_failure: 'fail',
  idempotency_key: null,
  request_hash: null,
  schedule_id: null,
  verification: null,
  traceparent: null,
  run_at: null,
  expires_at: null,
  agent_id: null,
  boot_id: null,
});
