import { setTimeout as pause } from 'node:timers/promises';
import { importSchedules } from '@muster/shared/contract/schedule-operations';
import { listExecutions, listSchedules } from '@muster/shared/contract/schedules';
import { listTasks } from '@muster/shared/contract/tasks';
import {
  type CoordinatorProcess,
  createSupervisor,
  eventually,
  History,
  type KillablePostgres,
  type Supervisor,
} from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { checkTicks } from '@muster/testing/checkers/ticks';
import { type Random, randomOf } from '@muster/testing/random';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inParallel, type Network, networkAt } from '../fixtures/network.ts';
import { keeperOf } from './keeper.ts';
import { part, SEED, SLACK, tell, timesOf, WHOLE } from './scale.ts';

/** How long schedules are due every second, and how many: a fiftieth of all due times is a short while with more of them. */
const [SECONDS, SCHEDULES] = WHOLE ? [part(600), 100] : [3, 300];
/** Between two kills, at most, in milliseconds; and one of how many is of Postgres. */
const [CALM_MS, TURNS] = WHOLE ? [2_000, 5] : [1_200, 3];
/** Until the first is due, in milliseconds: by then all are made. */
const MAKING_MS = 2_000;
/** How late due times may be, in milliseconds: 99 of 100 while Postgres is there; any that a kill of Postgres met. */
const LATE_MS = { usually: 1_500 * SLACK, acrossKill: 4_000 * SLACK };

const ADMIN_KEY = 'admin-key-of-the-proof-of-the-ticks';

/** What was done to whom, and the time from each kill of Postgres until it was there again. */
interface Chaos {
  coordinators: number;
  /** How many coordinators ended though nobody killed them. */
  crashes: number;
  outages: { from: number; to: number }[];
}

/** Three coordinators on a Postgres of their own, each in a process. */
async function startThree(supervisor: Supervisor) {
  const postgres = await supervisor.postgres();
  const env = { DATABASE_URL: postgres.url, MUSTER_ADMIN_KEY: ADMIN_KEY };
  const coordinators = await supervisor.coordinators(3, { env });
  return { postgres, coordinators, network: networkAt(coordinators[0]!.url, ADMIN_KEY) };
}

const supervisor = createSupervisor();
let world: Awaited<ReturnType<typeof startThree>>;
beforeAll(async () => {
  world = await startThree(supervisor);
});
afterAll(() => supervisor.stop());

/** Kills until a time, one turn after another and Postgres at one of `TURNS`, not the first; whoever has ended is started again at once. One coordinator is always left alone. */
async function wreak(
  random: Random,
  until: number,
  { postgres, coordinators }: { postgres: KillablePostgres; coordinators: CoordinatorProcess[] },
): Promise<Chaos> {
  const chaos: Chaos = { coordinators: 0, crashes: 0, outages: [] };
  const keeper = keeperOf(coordinators);
  for (let turn = 0, postgresTurn = 0; Date.now() < until; turn += 1) {
    if (turn % TURNS === 0) postgresTurn = turn + random.between(1, TURNS - 1);
    await pause(random.between(200, CALM_MS));
    if (turn === postgresTurn) {
      const from = Date.now();
      postgres.kill();
      await postgres.restart();
      chaos.outages.push({ from, to: Date.now() });
    } else if (keeper.ready.size > 1) {
      keeper.strike(random.pick([...keeper.ready]), ['SIGKILL']);
      chaos.coordinators += 1;
    }
  }
  await keeper.whole();
  return { ...chaos, crashes: keeper.crashes };
}

/** All pages of a list. */
async function all<T>(page: (cursor: string | undefined) => Promise<{ data: T[]; next_cursor: string | null }>) {
  const found: T[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const { data, next_cursor }: { data: T[]; next_cursor: string | null } = await page(cursor);
    found.push(...data);
    cursor = next_cursor;
  }
  return found;
}

const executionsOf = ({ admin }: Network, schedule_id: string) =>
  all((cursor) =>
    admin(listExecutions, { params: { schedule_id }, query: { limit: 200, ...(cursor ? { cursor } : {}) } }),
  );

test(
  `while coordinators and Postgres are killed for ${SECONDS} s, each due time of ${SCHEDULES} schedules fires once and in time (seed ${SEED})`,
  async () => {
    const random = randomOf(SEED);
    const { postgres, coordinators, network } = world;
    const begin = Math.ceil(Date.now() / 1_000) * 1_000 + MAKING_MS;
    const end = begin + SECONDS * 1_000;
    const rule = { starts_at: new Date(begin).toISOString(), ends_at: new Date(end).toISOString() };
    const policy = {
      overlap: 'ALLOW_ALL',
      catch_up_seconds: 3_600,
      misfire: { policy: 'FIRE_ALL', max: 1_000 },
    } as const;
    const schedules = Array.from({ length: SCHEDULES }, (_, n) => ({
      name: `every second, ${n}`,
      ...(n % 2 ? { cron_expression: '* * * * * *' } : { interval_seconds: 1 }),
      task_type: 'chaos',
      input_data: null,
      ...rule,
      ...policy,
    }));
    const { plan } = await network.admin(importSchedules, { body: { schedules } });
    const ids = plan.map(({ schedule_id }) => schedule_id!);
    expect(Date.now(), 'schedules made before the first is due').toBeLessThan(begin);
    await pause(begin - Date.now());
    const chaos = await wreak(random, end, { postgres, coordinators });
    await eventually(
      async () => expect((await network.admin(listSchedules, { query: { status: 'ACTIVE' } })).data).toEqual([]),
      { timeoutMs: 30_000 },
    );

    const due = Array.from({ length: SECONDS + 1 }, (_, n) => begin + n * 1_000);
    const executions = await inParallel(ids, 5, (id) => executionsOf(network, id));
    const fired = executions.flat();
    const times = executions.map((of) => of.map(({ scheduled_at }) => Date.parse(scheduled_at)).sort((a, b) => a - b));
    const distinct = times.map((of) => new Set(of));
    const tasks = await all((cursor) =>
      network.admin(listTasks, { query: { task_type: 'chaos', limit: 200, ...(cursor ? { cursor } : {}) } }),
    );

    const isIn = (at: number) => chaos.outages.some(({ from, to }) => from <= at && at <= to);
    const lateness = (across: boolean) =>
      fired
        .filter(({ scheduled_at }) => isIn(Date.parse(scheduled_at)) === across)
        .map(({ lateness_ms }) => lateness_ms!);
    const [usually, acrossKill] = [timesOf(lateness(false)), timesOf(lateness(true))];
    tell('ticks', {
      seconds: SECONDS,
      ticks: fired.length,
      'kills of coordinators': chaos.coordinators,
      'kills of Postgres': chaos.outages.length,
      'coordinators that ended by themselves': chaos.crashes,
      missing: distinct.reduce((sum, of) => sum + due.filter((at) => !of.has(at)).length, 0),
      doubled: times.reduce((sum, of, n) => sum + of.length - distinct[n]!.size, 0),
      'late while Postgres was there': usually,
      'late across a kill of Postgres': acrossKill,
    });
    const history = new History();
    for (const { schedule_id, scheduled_at, lateness_ms } of fired)
      history.told('muster', 'fire', {}, { schedule_id, at: Date.parse(scheduled_at) + lateness_ms! });
    const inTime = checkTicks(history.entries, new Map(ids.map((id) => [id, due])), { windowMs: LATE_MS.acrossKill });
    assertFindings([inTime], { minimum: SECONDS * SCHEDULES });
    for (const [n, of] of times.entries()) expect(of, `the due times of ${ids[n]}`).toEqual(due);
    expect(fired.every(({ status }) => status === 'FIRED')).toBe(true);
    expect(tasks.map(({ task_id }) => task_id).sort()).toEqual(fired.map(({ task_id }) => task_id).sort());
    expect(chaos.crashes).toBe(0);
    expect(chaos.coordinators).toBeGreaterThanOrEqual(SECONDS / 15);
    expect(chaos.outages.length).toBeGreaterThanOrEqual(SECONDS / 30);
    expect(usually.p99).toBeLessThanOrEqual(LATE_MS.usually);
    expect(Math.max(usually.max, acrossKill.max)).toBeLessThanOrEqual(LATE_MS.acrossKill);
  },
  (SECONDS + 150) * 1_000 * SLACK,
);
