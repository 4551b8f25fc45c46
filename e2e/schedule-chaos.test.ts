import { setTimeout as pause } from 'node:timers/promises';
import { importSchedules } from '@muster/shared/contract/schedule-operations';
import { getSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { listTasks } from '@muster/shared/contract/tasks';
import { type CoordinatorProcess, eventually, type KillablePostgres } from '@muster/testing';
import { type Random, randomOf, seedOf } from '@muster/testing/random';
import { expect, test } from 'vitest';
import { inParallel, type Network, networkAt, supervise } from './fixtures/network.ts';

/** How long schedules are due every second; `npm run chaos:schedules` goes on for 10 minutes, and holds the times to the promise. */
const SECONDS = Number(process.env.CHAOS_SECONDS ?? 30);
const SLACK = process.env.CHAOS_SECONDS ? 1 : 3;
const SEED = seedOf('CHAOS_SEED');
const SCHEDULES = 100;
/** How late due times may be, in milliseconds: 99 of 100 while Postgres is there; any that a kill of Postgres met. */
const LATE_MS = { usually: 1_500 * SLACK, acrossKill: 4_000 * SLACK };

const ADMIN_KEY = 'admin-key-of-the-schedule-chaos-test';

/** What was done to whom, and the time from each kill of Postgres until it was there again. */
interface Chaos {
  coordinators: number;
  outages: { from: number; to: number }[];
}

/** Three coordinators on a Postgres of their own, each in a process. */
async function startThree() {
  const supervisor = supervise();
  const postgres = await supervisor.postgres();
  const env = { DATABASE_URL: postgres.url, MUSTER_ADMIN_KEY: ADMIN_KEY };
  const start = (name: string) => supervisor.coordinator({ env, name });
  const coordinators = [await start('one'), ...(await Promise.all([start('two'), start('three')]))];
  return { postgres, coordinators, network: networkAt(coordinators[0]!.url, ADMIN_KEY) };
}

/** Kills until a time, one turn after another and Postgres at one of five; whoever has ended is started again at once. One coordinator is always left alone. */
async function wreak(
  random: Random,
  until: number,
  { postgres, coordinators }: { postgres: KillablePostgres; coordinators: CoordinatorProcess[] },
): Promise<Chaos> {
  const chaos: Chaos = { coordinators: 0, outages: [] };
  const ready = new Set(coordinators);
  let over = false;
  const keep = async (it: CoordinatorProcess) => {
    for (await it.ended(); !over; await it.ended()) {
      ready.delete(it);
      // One that starts while Postgres is gone ends again, as it should.
      ready.add(await eventually(() => it.start(), { timeoutMs: 60_000 }));
    }
  };
  for (const it of coordinators) void keep(it);
  for (let turn = 0, postgresTurn = 0; Date.now() < until; turn += 1) {
    if (turn % 5 === 0) postgresTurn = turn + random.below(5);
    await pause(random.between(200, 2_000));
    if (turn === postgresTurn) {
      const from = Date.now();
      postgres.kill();
      await postgres.restart();
      chaos.outages.push({ from, to: Date.now() });
    } else if (ready.size > 1) {
      const victim = random.pick([...ready]);
      ready.delete(victim);
      victim.kill();
      chaos.coordinators += 1;
    }
  }
  await eventually(() => ready.size === coordinators.length, { timeoutMs: 60_000 });
  over = true;
  return chaos;
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
  `while coordinators and Postgres are killed for ${SECONDS} s, each due time of ${SCHEDULES} schedules fires once and in time (CHAOS_SEED=${SEED})`,
  async () => {
    const random = randomOf(SEED);
    const { postgres, coordinators, network } = await startThree();
    const begin = Math.ceil(Date.now() / 1_000) * 1_000 + 5_000;
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
      () =>
        inParallel(ids, 10, async (schedule_id) =>
          expect(await network.admin(getSchedule, { params: { schedule_id } })).toMatchObject({ status: 'ENDED' }),
        ),
      { timeoutMs: 30_000 },
    );

    const due = Array.from({ length: SECONDS + 1 }, (_, n) => begin + n * 1_000);
    const executions = (await inParallel(ids, 5, (id) => executionsOf(network, id))).map((it) => it.reverse());
    for (const [n, of] of executions.entries()) {
      expect(
        of.map(({ scheduled_at }) => Date.parse(scheduled_at)),
        `the due times of ${ids[n]}`,
      ).toEqual(due);
      expect(of.every(({ status }) => status === 'FIRED')).toBe(true);
    }
    const fired = executions.flat();
    const tasks = await all((cursor) =>
      network.admin(listTasks, { query: { task_type: 'chaos', limit: 200, ...(cursor ? { cursor } : {}) } }),
    );
    expect(tasks.map(({ task_id }) => task_id).sort()).toEqual(fired.map(({ task_id }) => task_id).sort());

    const isIn = (at: number) => chaos.outages.some(({ from, to }) => from <= at && at <= to);
    const lateness = (across: boolean) =>
      fired
        .filter(({ scheduled_at }) => isIn(Date.parse(scheduled_at)) === across)
        .map(({ lateness_ms }) => lateness_ms!)
        .sort((a, b) => a - b);
    const [usually, acrossKill] = [lateness(false), lateness(true)];
    const p99 = usually[Math.floor(usually.length * 0.99)]!;
    const most = Math.max(usually.at(-1)!, acrossKill.at(-1) ?? 0);
    const kills = `${chaos.coordinators} coordinators and ${chaos.outages.length} times Postgres killed`;
    console.log(`${kills}; ${fired.length} fired; late by ${p99} ms (p99), ${most} ms at most`);
    expect(chaos.coordinators).toBeGreaterThanOrEqual(SECONDS / 15);
    expect(chaos.outages.length).toBeGreaterThanOrEqual(SECONDS / 30);
    expect(p99).toBeLessThanOrEqual(LATE_MS.usually);
    expect(most).toBeLessThanOrEqual(LATE_MS.acrossKill);
  },
  (SECONDS + 150) * 1_000,
);
