import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { importSchedules } from '@muster/shared/contract/schedule-operations';
import { listExecutions } from '@muster/shared/contract/schedules';
import { createTask } from '@muster/shared/contract/tasks';
import { ProblemError } from '@muster/shared/errors';
import { createDatabase, eventually } from '@muster/testing';
import { auditRows } from '@muster/testing/auditor';
import postgres, { type Sql } from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, type Network, networkAt, scratch, startSdkAgent, supervise } from '../fixtures/network.ts';
import { part, SLACK, tell, timesOf, WHOLE } from './scale.ts';

const range = (length: number) => Array.from({ length }, (_, n) => n);

/** A coordinator in a process of its own on a Postgres of its own; `sql` is for looking, and finds it again after an outage. */
async function startOn(folder?: string) {
  const supervisor = supervise();
  const database = await supervisor.postgres(folder ? { folder } : {});
  const coordinator = await supervisor.coordinator({ env: { DATABASE_URL: database.url } });
  // The driver's look for types is caught by nobody when Postgres is killed under it.
  const sql = postgres(database.url, { max: 2, onnotice: () => {}, backoff: () => 0.1, fetch_types: false });
  onTestFinished(() => sql.end({ timeout: 1 }));
  return { database, coordinator, sql, ...networkAt(coordinator.url, coordinator.adminKey) };
}

const ADMIN_KEY = 'admin-key-of-the-proof-of-the-outages';

/** Two coordinators in processes of their own on one database. */
async function startTwo(...[here, there]: Record<string, string>[]) {
  // Made first, it goes last: a coordinator without its database takes its time to end.
  const { url: DATABASE_URL, drop } = await createDatabase();
  onTestFinished(drop);
  const supervisor = supervise();
  const start = (env = {}) => supervisor.coordinator({ env: { DATABASE_URL, MUSTER_ADMIN_KEY: ADMIN_KEY, ...env } });
  const [one, other] = await Promise.all([start(here), start(there)]);
  const sql = postgres(DATABASE_URL, { max: 2, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  return { supervisor, one, other, sql, network: networkAt(one.url, ADMIN_KEY) };
}

/** What readiness says, again and again until told to stop when it is ready, and how long each word took. */
async function watchReadiness(url: string, over: () => boolean) {
  const seen: { until: Date; status: number; ms: number }[] = [];
  while (!over() || seen.at(-1)?.status !== 200) {
    const since = performance.now();
    const { status } = await fetch(`${url}/readyz`);
    seen.push({ until: new Date(), status, ms: performance.now() - since });
    await pause(100);
  }
  return seen;
}

const BUSY = Math.max(8, part(200));
const AWAY_MS = WHOLE ? 60_000 : 2_000;
/** When results are to be there after Postgres is, in milliseconds. */
const DELIVERED_MS = 5_000 * SLACK;

test(
  `I25: while Postgres is away for ${AWAY_MS / 1_000} s, ${BUSY} busy agents go on, and none of their work is done again`,
  async () => {
    const network = await startOn();
    const { database, coordinator, sql } = network;
    const executions = new Map<string, number>();
    let fenced = 0;
    const enrollment_token = await network.enrol();
    await inParallel(range(BUSY), 10, (n) =>
      startSdkAgent(network, {
        enrollment_token,
        display_name: `agent ${n}`,
        handlers: {
          work: async ({ input_data, run }) => {
            executions.set(run.task_id, (executions.get(run.task_id) ?? 0) + 1);
            await pause(input_data as number);
            return input_data;
          },
        },
        onEvent: (name) => (fenced += Number(name === 'fenced')),
      }),
    );
    // Half of them end while it is away, and half after.
    await inParallel(range(BUSY), 10, (n) =>
      network.submit({ task_type: 'work', input_data: AWAY_MS * (n % 2 ? 0.5 : 1.2) }),
    );
    await eventually(() => expect(executions.size).toBe(BUSY), { timeoutMs: 60_000 });
    const { pid } = coordinator;
    let over = false;
    database.kill();
    const watching = watchReadiness(network.url, () => over);
    await pause(AWAY_MS);
    const backFrom = new Date();
    await database.restart();
    await eventually(
      async () => {
        const [row] = await sql<[{ n: number }]>`select count(*)::int as n from runs`;
        expect(row.n).toBeGreaterThanOrEqual(BUSY);
      },
      { timeoutMs: AWAY_MS + 60_000, everyMs: 200 },
    );
    over = true;
    const words = await watching;
    const away = words.filter(({ until }) => until < backFrom);
    const readyAt = words.find(({ until, status }) => until > backFrom && status === 200)!.until;

    const ends = await sql<{ status: string; attempt: number; waited: boolean; ms: number }[]>`
      select status, attempt, (input_data::text)::float8 < ${AWAY_MS} as waited,
        (extract(epoch from finished_at - ${readyAt}::timestamptz) * 1000)::float8 as ms
      from runs join tasks using (task_id)`;
    const delivered = timesOf(ends.filter(({ waited }) => waited).map(({ ms }) => Math.max(0, ms)));
    tell('outages: Postgres is away', {
      agents: BUSY,
      seconds: AWAY_MS / 1_000,
      completed: ends.filter(({ status }) => status === 'COMPLETED').length,
      'done again': [...executions.values()].reduce((sum, n) => sum + n - 1, 0),
      'agents that fenced themselves': fenced,
      'results that waited are delivered': delivered,
      'readiness says 503': timesOf(away.map(({ ms }) => ms)),
      'ready again, ms': readyAt.getTime() - backFrom.getTime(),
    });
    expect([...executions.values()]).toEqual(range(BUSY).map(() => 1));
    expect(ends.map(({ status, attempt }) => `${status} ${attempt}`)).toEqual(range(BUSY).map(() => 'COMPLETED 1'));
    expect(fenced).toBe(0);
    expect(delivered.count).toBe(Math.floor(BUSY / 2));
    expect(delivered.max).toBeLessThanOrEqual(DELIVERED_MS);
    // The first may have been asked while the last of it was still there.
    expect(away.length).toBeGreaterThan(AWAY_MS / 4_000);
    expect(away.slice(1).filter(({ status }) => status !== 503)).toEqual([]);
    expect([coordinator.running, coordinator.pid]).toEqual([true, pid]);
    await auditRows(sql);
  },
  3 * AWAY_MS + 120_000 * SLACK,
);

const FROZEN_MS = WHOLE ? 60_000 : 2_000;
const SCHEDULES = 10;

/** A rule that is due every second, and at no time is left out. */
const everySecond = (from: number, until: number) => ({
  task_type: 'tick',
  input_data: null,
  interval_seconds: 1,
  starts_at: new Date(from).toISOString(),
  ends_at: new Date(until).toISOString(),
  overlap: 'ALLOW_ALL' as const,
  catch_up_seconds: 3_600,
  misfire: { policy: 'FIRE_ALL' as const, max: 1_000 },
});

/** All in one request: before the first is due. */
async function makeSchedules({ admin }: Network, rule: ReturnType<typeof everySecond>): Promise<string[]> {
  const schedules = range(SCHEDULES).map((n) => ({ name: `every second, ${n}`, ...rule }));
  const { plan } = await admin(importSchedules, { body: { schedules } });
  expect(Date.now(), 'schedules made before the first is due').toBeLessThan(Date.parse(rule.starts_at));
  return plan.map(({ schedule_id }) => schedule_id!);
}

/** How late each due time of the schedules fired, when each fired once. */
async function lateness({ admin }: Network, ids: readonly string[], from: number, until: number): Promise<number[]> {
  const due = range((until - from) / 1_000 + 1).map((n) => from + n * 1_000);
  const fired = await inParallel(ids, 4, async (schedule_id) => {
    const { data } = await admin(listExecutions, { params: { schedule_id }, query: { limit: 200 } });
    // A list is in the order of ids, which is that of the times as far as the coordinators' clocks agree.
    expect(data.map(({ scheduled_at }) => Date.parse(scheduled_at)).sort((a, b) => a - b)).toEqual(due);
    expect(data.every(({ status }) => status === 'FIRED')).toBe(true);
    return data.map(({ lateness_ms }) => lateness_ms!);
  });
  return fired.flat();
}

const allTicksDone = (sql: Sql, ticks: number) =>
  eventually(
    async () => {
      const [row] = await sql<[{ n: number }]>`select count(*)::int as n from runs where status = 'COMPLETED'`;
      expect(row.n).toBe(ticks);
    },
    { timeoutMs: 120_000 * SLACK, everyMs: 100 },
  );

test(
  `I20: a coordinator that stands still for ${FROZEN_MS / 1_000} s and goes on does nothing twice`,
  async () => {
    const { one, other, sql, network } = await startTwo();
    const executions = new Map<string, number>();
    const enrollment_token = await network.enrol();
    const agents = [one, other].flatMap((coordinator) => range(2).map(() => networkAt(coordinator.url, ADMIN_KEY)));
    await inParallel(agents, 4, (at, n) =>
      startSdkAgent(at, {
        enrollment_token,
        display_name: `agent ${n}`,
        slots: 10,
        handlers: {
          tick: async ({ run }) => {
            executions.set(run.task_id, (executions.get(run.task_id) ?? 0) + 1);
            await pause(200);
          },
        },
      }),
    );
    const from = Math.ceil(Date.now() / 1_000) * 1_000 + 1_000;
    const until = from + FROZEN_MS + 1_000;
    const rule = everySecond(from, until);
    const ids = await makeSchedules(network, rule);
    await pause(from + 500 - Date.now());
    other.freeze();
    await pause(FROZEN_MS);
    other.resume();
    await pause(until - Date.now());
    const ticks = ids.length * ((until - from) / 1_000 + 1);
    await allTicksDone(sql, ticks);
    const late = await lateness(network, ids, from, until);
    const [row] = await sql<[{ lost: number; doubled: number }]>`
      select (select count(*)::int from runs where status = 'LOST') as lost,
        (select count(*)::int from (select from runs where status = 'COMPLETED' group by task_id having count(*) > 1) t) as doubled`;
    tell('outages: a coordinator stands still', {
      seconds: FROZEN_MS / 1_000,
      ticks: late.length,
      missing: ticks - late.length,
      doubled: row.doubled,
      'runs taken back': row.lost,
      'begun again': [...executions.values()].reduce((sum, n) => sum + n - 1, 0),
      late: timesOf(late),
    });
    expect(row.doubled).toBe(0);
    expect(late).toHaveLength(ticks);
    await eventually(() => auditRows(sql));
  },
  4 * FROZEN_MS + 180_000 * SLACK,
);

const WRONG_SECONDS = WHOLE ? 60 : 2;
const HOUR_MS = 3_600_000;
const wrongClock = (ms: number) => ({
  NODE_OPTIONS: `--import=${new URL('../fixtures/wrong-clock.mjs', import.meta.url).href}`,
  WRONG_BY_MS: String(ms),
});

test(
  'I26: with clocks of coordinators and agents that are wrong by an hour, and jump by two, nothing is early, late or lost',
  async () => {
    const { supervisor, one, other, sql, network } = await startTwo(wrongClock(HOUR_MS), wrongClock(-HOUR_MS));
    const enrollment_token = await network.enrol();
    const skews = WHOLE ? [0, 0, 300_000, -300_000, HOUR_MS, -HOUR_MS] : [0, 300_000, -HOUR_MS];
    const agents = await inParallel(skews, 3, (skew, n) =>
      supervisor.agent({
        url: n % 2 ? one.url : other.url,
        enrollment_token,
        name: `agent-${n}`,
        args: ['--slots', '20', '--capabilities', 'echo'],
        env: wrongClock(skew),
      }),
    );
    const from = Math.ceil(Date.now() / 1_000) * 1_000 + 1_000;
    const until = from + WRONG_SECONDS * 1_000;
    const body = { ...everySecond(from, until), task_type: 'echo' };
    const ids = await makeSchedules(network, body);
    await pause(from + (WRONG_SECONDS * 1_000) / 2 - Date.now());
    for (const it of [one, other, ...agents]) it.kill('SIGUSR2');
    // A new life signs anew, by the clock it has now.
    await Promise.all(agents.map((agent) => agent.restart('SIGTERM')));
    await pause(until - Date.now());
    const ticks = ids.length * (WRONG_SECONDS + 1);
    await allTicksDone(sql, ticks);
    const late = await lateness(network, ids, from, until);
    const ends = await sql<
      { status: string; n: number }[]
    >`select status, count(*)::int as n from runs group by 1 order by 1`;
    tell('outages: clocks are wrong', {
      coordinators: 2,
      agents: agents.length,
      ticks: late.length,
      early: late.filter((ms) => ms < 0).length,
      late: timesOf(late),
      runs: ends.map(({ status, n }) => `${n} ${status}`).join(', '),
    });
    expect(late).toHaveLength(ticks);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(timesOf(late).p99).toBeLessThanOrEqual(1_500 * SLACK);
    expect(ends.map(({ status }) => status)).not.toContain('LOST');
    await eventually(() => auditRows(sql));
  },
  (2 * WRONG_SECONDS + 180 * SLACK) * 1_000,
);

const DISK_BYTES = 256 * 2 ** 20;
/** Why no file system of that size can be made here; nothing where it can. */
const noDisk = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'only root on Linux may mount';
  return undefined;
})();

/** A file system of 256 MiB; gone after the test. */
function smallDisk(): string {
  const folder = scratch('disk');
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES},mode=0755`, 'tmpfs', folder]);
  onTestFinished(() => void execFileSync('umount', ['--lazy', folder]));
  return folder;
}

/** Writes until there is no room left, to the last byte; what it answers makes room again. */
function fill(folder: string): () => void {
  const ballast = join(folder, 'ballast');
  for (let free = freeBytes(folder); free > 0; free = freeBytes(folder)) {
    try {
      writeFileSync(ballast, Buffer.alloc(Math.min(free, 2 ** 20)), { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  return () => rmSync(ballast);
}

const freeBytes = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
};

const REFUSALS = part(1_000);

test.skipIf(noDisk)(
  `I28: a full disk refuses ${REFUSALS} submits and loses none it took, and all goes on when there is room${noDisk ? ` (skipped: ${noDisk})` : ''}`,
  async () => {
    const disk = smallDisk();
    const network = await startOn(disk);
    const { database, coordinator, sql } = network;
    const taken: string[] = [];
    const refused = new Map<string, number>();
    const submit = async () => {
      const body = { task_type: 'work', input_data: 'x'.repeat(20_000) };
      try {
        taken.push((await network.admin(createTask, { body })).task_id);
      } catch (error) {
        if (!(error instanceof ProblemError)) throw error;
        refused.set(error.code, (refused.get(error.code) ?? 0) + 1);
      }
    };
    const count = (of: Map<string, number>) => [...of.values()].reduce((sum, n) => sum + n, 0);
    await inParallel(range(100), 10, submit);
    const before = taken.length;
    const makeRoom = fill(disk);
    while (count(refused) < REFUSALS) await inParallel(range(50), 10, submit);
    const during = taken.length - before;
    const { pid } = coordinator;
    makeRoom();
    const roomAt = performance.now();
    // Where it could not write its log Postgres ends, and whoever runs it starts it again.
    const died = await sql`select 1`.then(
      () => false,
      () => true,
    );
    if (died) await database.restart();
    await eventually(submitted, { timeoutMs: 30_000, everyMs: 100 });
    const backMs = performance.now() - roomAt;
    async function submitted() {
      const was = taken.length;
      await submit();
      return taken.length > was;
    }
    const [row] = await sql<[{ missing: number }]>`
      select count(*)::int as missing from json_array_elements_text(${JSON.stringify(taken)}::text::json) as a(task_id) where not exists (select from tasks t where t.task_id = a.task_id)`;
    const agent = await startSdkAgent(network, { slots: 50, handlers: { work: () => null } });
    await eventually(
      async () => {
        const [open] = await sql<
          [{ n: number }]
        >`select ((select count(*) from ready) + (select count(*) from leases))::int as n`;
        expect(open.n).toBe(0);
      },
      { timeoutMs: 60_000 },
    );
    await agent.stop();
    tell('outages: the disk is full', {
      acknowledged: taken.length,
      'acknowledged while it was full': during,
      refused: [...refused].map(([code, n]) => `${n} ${code}`).join(', '),
      lost: row.missing,
      'Postgres ended': String(died),
      'taken again, ms': Math.round(backMs),
    });
    expect([...refused.keys()]).toEqual(['storage-unavailable']);
    expect(row.missing).toBe(0);
    expect(backMs).toBeLessThan(10_000 * SLACK);
    expect([coordinator.running, coordinator.pid]).toEqual([true, pid]);
    await auditRows(sql);
  },
  300_000 * SLACK,
);
