import { setTimeout as pause } from 'node:timers/promises';
import { listAgents } from '@muster/shared/contract/agents';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { replayTrust } from '@muster/shared/contract/trust';
import { fenceOf } from '@muster/shared/ids';
import {
  type CoordinatorProcess,
  createSupervisor,
  eventually,
  History,
  type KillablePostgres,
  type Supervisor,
  type TestProcess,
} from '@muster/testing';
import { auditRows } from '@muster/testing/auditor';
import { assertFindings, checkClaims, checkResults, checkSubmits } from '@muster/testing/checkers';
import { randomOf } from '@muster/testing/random';
import postgres, { type Sql } from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inParallel } from '../fixtures/network.ts';
import { type Keeper, keeperOf } from './keeper.ts';
import { part, SEED, SLACK, tell, timesOf, WHOLE } from './scale.ts';
import { submitAll } from './submitters.ts';

const SUBMITS = part(100_000);
const KILLS = { agent: part(120), coordinator: part(60), postgres: part(20) };
const LEAVES = part(20);
const AGENTS = WHOLE ? 12 : 3;
const COORDINATORS = WHOLE ? 3 : 2;
const SLOTS = 16;
/** Between two kills, at most. */
const CALM_MS = WHOLE ? 6_000 : 600;
/** How soon what an agent had is queued again, in milliseconds, at the 99th percentile. */
const SOON_MS = { silent: 32_000 * SLACK, reborn: 1_000 * SLACK, left: 1_000 * SLACK };

const ADMIN_KEY = 'admin-key-of-the-proof-of-the-kills';

/** How long it took until what agents had was queued again, in milliseconds. */
interface Detections {
  /** Killed, and silent: from its end, or where the database was away meanwhile from its return. */
  silent: number[];
  /** Killed, and started again: from the start of its new life. */
  reborn: number[];
  /** Told to stop at once. */
  left: number[];
}

interface World {
  sql: Sql;
  history: History;
  database: KillablePostgres;
  coordinators: Keeper<CoordinatorProcess>;
  agents: Keeper<TestProcess>;
  /** Which coordinator each agent talks to. */
  homes: ReadonlyMap<TestProcess, CoordinatorProcess>;
  detections: Detections;
}

/** What a sample agent's log tells of what it was given and was told. */
function historian(history: History, name: string): (line: Record<string, unknown>) => void {
  const taskOf = new Map<string, string>();
  return ({ event, run_id, task_id, attempt, outcome, applied }) => {
    if (typeof run_id !== 'string') return;
    const fence = fenceOf(run_id);
    if (event === 'assigned') {
      taskOf.set(run_id, String(task_id));
      history.told(name, 'poll', {}, { runs: [{ task_id, fence, attempt }] });
    } else if (event === 'reported') {
      // What an earlier life could not deliver was assigned to that.
      history.told(name, 'result', { task_id: taskOf.get(run_id), fence, outcome }, { applied });
    }
  };
}

async function startWorld(supervisor: Supervisor): Promise<World & { url: string }> {
  const history = new History();
  const database = await supervisor.postgres();
  const env = { DATABASE_URL: database.url, MUSTER_ADMIN_KEY: ADMIN_KEY, MUSTER_LOG_LEVEL: 'info' };
  const coordinators = await supervisor.coordinators(COORDINATORS, { env });
  const { admin, url } = coordinators[0]!;
  const { enrollment_token } = await admin(createEnrollmentToken, { body: { max_uses: AGENTS } });
  const agents = await inParallel(Array.from({ length: AGENTS }), 3, (_, n) => {
    const name = `agent-${n}`;
    const at = coordinators[n % coordinators.length]!.url;
    const args = ['--slots', String(SLOTS)];
    return supervisor.agent({ url: at, enrollment_token, name, args, hear: historian(history, name) });
  });
  // The driver's look for types is caught by nobody when Postgres is killed under it.
  const sql = postgres(database.url, { max: 4, onnotice: () => {}, backoff: () => 0.1, fetch_types: false });
  const detections = { silent: [], reborn: [], left: [] };
  const homes = new Map(agents.map((agent, n) => [agent, coordinators[n % coordinators.length]!]));
  return {
    url,
    sql,
    history,
    database,
    coordinators: keeperOf(coordinators),
    agents: keeperOf(agents),
    homes,
    detections,
  };
}

/** When the last of what an agent had at a time was taken from it, by the database's clock; undefined where it had nothing. */
async function takenFrom(sql: Sql, agent_id: string, since: Date, status: string): Promise<Date | undefined> {
  const rows = await eventually(
    () => sql<{ finished_at: Date }[]>`
      select finished_at from runs where agent_id = ${agent_id} and status = ${status} and finished_at >= ${since}
      order by 1 desc limit 1`,
    { timeoutMs: 60_000 },
  );
  return rows[0]?.finished_at;
}

/** Kills an agent, which comes back at once or when it was given up; how long that took is kept. */
async function killAgent({ sql, agents, detections }: World, agent: TestProcess, stays: boolean): Promise<void> {
  const agent_id = String(agent.readyLine.agent_id);
  const killedAt = new Date();
  if (!stays) {
    agents.strike(agent, ['SIGKILL']);
    await eventually(() => agents.ready.has(agent), { timeoutMs: 300_000 });
    const [life] = await eventually(
      () => sql<[{ started_at: Date }]>`
        select started_at from boots where agent_id = ${agent_id} and boot_id = ${String(agent.readyLine.boot_id)}`,
      { timeoutMs: 60_000 },
    );
    const taken = await takenFrom(sql, agent_id, killedAt, 'LOST');
    if (taken) detections.reborn.push(taken.getTime() - life.started_at.getTime());
    return;
  }
  let over = () => {};
  agents.strike(agent, ['SIGKILL'], new Promise<void>((resolve) => (over = resolve)));
  try {
    const [network] = await eventually(
      async () => {
        const rows = await sql<[{ held: number; steady_since: Date }]>`
          select (select count(*)::int from leases where agent_id = ${agent_id}) as held, steady_since from cluster`;
        return rows[0].held === 0 && rows;
      },
      { timeoutMs: 300_000, everyMs: 200 },
    );
    const taken = await takenFrom(sql, agent_id, killedAt, 'LOST');
    const from = Math.max(killedAt.getTime(), network.steady_since.getTime());
    if (taken) detections.silent.push(taken.getTime() - from);
  } finally {
    over();
  }
}

/** Tells an agent to drain, and in the same breath to stop at once. */
async function dismissAgent({ sql, agents, detections }: World, agent: TestProcess): Promise<void> {
  const agent_id = String(agent.readyLine.agent_id);
  const toldAt = new Date();
  agents.strike(agent, ['SIGTERM', 'SIGINT']);
  await agent.ended();
  const taken = await takenFrom(sql, agent_id, toldAt, 'RETURNED');
  if (taken) detections.left.push(taken.getTime() - toldAt.getTime());
}

type Blow = keyof typeof KILLS | 'leave';

/** All that is to happen, in an order of the seed. */
function blows(): Blow[] {
  const all: Blow[] = Object.entries({ ...KILLS, leave: LEAVES }).flatMap(([blow, count]) =>
    Array.from({ length: count }, () => blow as Blow),
  );
  const random = randomOf(SEED + 1);
  for (let n = all.length - 1; n > 0; n -= 1) {
    const other = random.below(n + 1);
    [all[n], all[other]] = [all[other]!, all[n]!];
  }
  return all;
}

/** Kills one after another; resolves when all that was killed is back. One coordinator is always left alone. */
async function wreak(world: World): Promise<Record<keyof typeof KILLS, number>> {
  const { database, coordinators, agents, homes } = world;
  const random = randomOf(SEED + 2);
  const struck = { agent: 0, coordinator: 0, postgres: 0 };
  const watches: Promise<void>[] = [];
  const free = <P extends TestProcess>(keeper: Keeper<P>, left: number, fits: (it: P) => boolean = () => true) => {
    const choice = () => {
      const fitting = [...keeper.ready].filter(fits);
      return keeper.ready.size > left && fitting.length > 0 && random.pick(fitting);
    };
    return eventually(choice, { timeoutMs: 300_000 });
  };
  /** An agent that leaves while nobody is there to be told is not what is promised. */
  const isHeard = (agent: TestProcess) => coordinators.ready.has(homes.get(agent)!);
  for (const blow of blows()) {
    await pause(random.between(CALM_MS / 6, CALM_MS));
    if (blow === 'postgres') {
      database.kill();
      await database.restart();
    } else if (blow === 'coordinator') coordinators.strike(await free(coordinators, 1), ['SIGKILL']);
    else if (blow === 'agent') watches.push(killAgent(world, await free(agents, 1), WHOLE && random.below(2) === 0));
    else watches.push(dismissAgent(world, await free(agents, 1, isHeard)));
    if (blow !== 'leave') struck[blow] += 1;
  }
  await Promise.all(watches);
  await Promise.all([coordinators.whole(), agents.whole()]);
  return struck;
}

async function drained(sql: Sql): Promise<void> {
  await eventually(
    async () => {
      const [{ open }] = await sql<[{ open: number }]>`
        select ((select count(*) from ready) + (select count(*) from delayed) + (select count(*) from leases))::int as open`;
      expect(open).toBe(0);
    },
    { timeoutMs: 300_000 * SLACK, everyMs: 200 },
  );
}

const supervisor = createSupervisor();
let world: Awaited<ReturnType<typeof startWorld>>;
beforeAll(async () => {
  world = await startWorld(supervisor);
});
afterAll(async () => {
  await world?.sql.end({ timeout: 1 });
  await supervisor.stop();
});

test(
  `of ${SUBMITS} acknowledged tasks none is lost and none done twice, while agents, coordinators and Postgres are killed (seed ${SEED})`,
  async () => {
    const { sql, history, detections } = world;
    const began = performance.now();
    const [struck] = await Promise.all([wreak(world), submitAll(world, SUBMITS, ADMIN_KEY)]);
    await drained(sql);
    const seconds = (performance.now() - began) / 1_000;

    const rows = await sql<{ task_id: string; status: string }[]>`select task_id, status from task_state`;
    const statuses = new Map(rows.map(({ task_id, status }) => [task_id, status]));
    const { entries } = history;
    const submits = checkSubmits(entries, statuses);
    const claims = checkClaims(entries);
    const results = checkResults(entries);
    const [row] = await sql<[{ runs: number; lost: number; returned: number; completed: number; overlaps: number }]>`
      select count(*)::int as runs, count(*) filter (where status = 'LOST')::int as lost, count(*) filter (where status = 'RETURNED')::int as returned,
        (select count(*)::int from (select from runs where status = 'COMPLETED' group by task_id having count(*) > 1) t) as completed,
        (select count(*)::int from (select finished_at, lead(assigned_at) over (partition by task_id order by fence) as next from runs) r where next < finished_at) as overlaps
      from runs`;
    const ended = await sql<
      { status: string; n: number }[]
    >`select status, count(*)::int as n from task_state group by 1 order by 2 desc`;
    const { silent, reborn, left } = detections;
    tell('kills', {
      seconds: Math.round(seconds),
      acknowledged: submits.checked,
      operations: entries.length / 2,
      'kills of agents': struck.agent,
      'kills of coordinators': struck.coordinator,
      'kills of Postgres': struck.postgres,
      'ended by themselves': world.coordinators.crashes + world.agents.crashes,
      lost: submits.broken.length,
      doubled: results.broken.length + row.completed,
      overlaps: row.overlaps + claims.broken.length,
      'runs taken back': row.lost,
      'runs given back': row.returned,
      ended: ended.map(({ status, n }) => `${n} ${status}`).join(', '),
      'a killed agent is detected': timesOf(silent),
      'a new life is detected': timesOf(reborn),
      'a leave is detected': timesOf(left),
    });
    assertFindings([submits], { minimum: SUBMITS });
    assertFindings([claims, results], { minimum: SUBMITS * 0.9 });
    expect(statuses.size).toBe(SUBMITS);
    expect([row.completed, row.overlaps]).toEqual([0, 0]);
    expect(struck).toEqual(KILLS);
    expect([world.agents.crashes, world.coordinators.crashes]).toEqual([0, 0]);
    await auditRows(sql);
    await expectTrustReplayed(world);
    expect(timesOf(reborn).p99).toBeLessThanOrEqual(SOON_MS.reborn);
    expect(timesOf(silent).p99).toBeLessThanOrEqual(SOON_MS.silent);
    expect(timesOf(left).p99).toBeLessThanOrEqual(SOON_MS.left);
    // Of the few that are killed in CI none may have had work.
    if (WHOLE) for (const { length } of [silent, reborn]) expect(length).toBeGreaterThanOrEqual(KILLS.agent / 12);
  },
  WHOLE ? 1_800_000 * SLACK : 300_000,
);

/** I14: the evidence folded anew gives the trust there is. */
async function expectTrustReplayed({ coordinators }: World): Promise<void> {
  const { admin } = [...coordinators.ready][0]!;
  const { data } = await admin(listAgents, { query: { limit: 200 } });
  expect(data).toHaveLength(AGENTS);
  for (const { agent_id } of data) {
    const { capabilities } = await admin(replayTrust, { params: { agent_id }, query: { dry_run: 'true' } });
    for (const { difference } of capabilities) expect(difference).toBeLessThanOrEqual(1e-12);
  }
}
