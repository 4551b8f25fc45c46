// What schedules cost: 100,000 that wait, 5,000 that are due in the same second, and how fast a next due time is found.
// Usage: npm run bench:schedules [-- --schedules=100000 --due=5000 --seconds=20 --rounds=3]
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@muster/server/platform/embedded-postgres/start';
import { nextDue } from '@muster/server/schedules/when';
import { newId } from '@muster/shared/ids';
import postgres from 'postgres';
import { childrenOf, cpuOf, load, residentMb } from './cpu.mjs';
import { short, spread } from './figures.mjs';
import { startCoordinator } from './subjects/muster.mjs';

const SIZES = { schedules: 100_000, few: 1_000, due: 5_000, seconds: 20, rounds: 3, times: 100_000 };
const options = Object.entries(SIZES).map(([name, value]) => [name, { type: 'string', default: String(value) }]);
const { values } = parseArgs({ options: Object.fromEntries(options) });
const sizes = Object.fromEntries(Object.keys(SIZES).map((name) => [name, Number(values[name])]));

const ADMIN_KEY = `bench-${newId('key')}`;

/** A Postgres with default durability and a coordinator on it. */
async function open() {
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-schedules-bench-'));
  const server = await startEmbeddedPostgres({ dataDir });
  const env = { DATABASE_URL: server.url, MUSTER_DATA_DIR: dataDir, MUSTER_ADMIN_KEY: ADMIN_KEY };
  const { pid, url, stop } = await startCoordinator(env);
  const sql = postgres(server.url, { max: 1, onnotice: () => {} });
  return {
    url,
    sql,
    /** CPU time of both since this was asked, in microseconds; sessions that began and ended meanwhile are not in it. */
    cpu() {
      const used = () => new Map([pid, ...childrenOf(server.pid)].map((it) => [it, cpuOf(it)]));
      const before = used();
      return () => [...used()].reduce((sum, [it, us]) => sum + us - (before.get(it) ?? 0), 0);
    },
    residentMb: () => residentMb(pid),
    async close() {
      await stop();
      await sql.end({ timeout: 1 });
      await server.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** Makes the one schedule whose copies all others are. */
async function createOne({ url }) {
  const body = { task_type: 'noop', input_data: null, cron_expression: '0 0 1 1 *', overlap: 'ALLOW_ALL' };
  const answer = await fetch(`${url}/aitp/tasks/schedule`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (answer.status !== 201) throw new Error(`${answer.status}: ${await answer.text()}`);
  return (await answer.json()).schedule_id;
}

/** Copies it by SQL, each copy due in a year of its own making: what a schedule is told does not matter while it waits. */
async function fill({ sql }, first, count) {
  const columns = (
    await sql`
      select column_name from information_schema.columns
      where table_name = 'schedules' and is_generated = 'NEVER' and column_name not in ('schedule_id', 'next_run_at')`
  ).map(({ column_name }) => column_name);
  const names = sql.unsafe(columns.join());
  for (let left = count; left > 0; left -= 10_000) {
    const ids = Array.from({ length: Math.min(left, 10_000) }, () => newId('sched'));
    await sql`
      insert into schedules (schedule_id, next_run_at, ${names})
      select new_id, next_run_at + n * interval '1 second', ${names} from schedules, unnest(${ids}::text[]) with ordinality as x(new_id, n)
      where schedule_id = ${first}`;
  }
  await sql`vacuum analyze schedules`;
  await sql`checkpoint`;
}

/** CPU of the coordinator and Postgres together while nothing is due, in percent of a core, and the coordinator's memory. */
async function idle(stage) {
  await pause(5_000);
  const used = stage.cpu();
  await pause(sizes.seconds * 1_000);
  return { percent: used() / sizes.seconds / 10_000, mb: stage.residentMb() };
}

/** Patterns that are all due at an instant, and hardly two of them the same. */
function patternsAt(at, count) {
  const [hour, minute, second] = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()];
  return Array.from(
    { length: count },
    (_, n) => `${second},${Math.floor(n / 1_440)} ${minute},${n % 60} ${hour},${Math.floor(n / 60) % 24} * * *`,
  );
}

/** So many due in the same second: how late the last of them fired, and was there to be seen, in milliseconds. */
async function dueAtOnce({ sql }) {
  const at = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 5_000);
  await sql`
    update schedules s set next_run_at = ${at}, cron_expression = x.pattern, version = version + 1
    from (select schedule_id, row_number() over (order by schedule_id) as n from schedules limit ${sizes.due}) due
    join unnest(${patternsAt(at, sizes.due)}::text[]) with ordinality as x(pattern, n) using (n)
    where s.schedule_id = due.schedule_id`;
  const fired = async () =>
    (
      await sql`
        select count(*)::int as count, (extract(epoch from max(fired_at) - ${at}) * 1000)::int as late from executions
        where scheduled_at = ${at} and status = 'FIRED'`
    )[0];
  for (;;) {
    const { count, late } = await fired();
    if (count > sizes.due) throw new Error(`${count} fired of ${sizes.due}`);
    if (count === sizes.due) return { late, seen: Date.now() - at.getTime() };
    if (Date.now() > at.getTime() + 60_000) throw new Error(`only ${count} of ${sizes.due} fired`);
    await pause(50);
  }
}

const ZONES = ['UTC', 'America/New_York', 'Europe/Berlin', 'Asia/Kolkata', 'Australia/Lord_Howe'];

/** Due times found in a second: of patterns that are known, and each a pattern's first. */
function nextPerSecond() {
  const rule = { interval_seconds: null, phase_seconds: 0, at: null, starts_at: null, ends_at: null, exclude: [] };
  const whens = Array.from({ length: 1_440 }, (_, n) => ({
    ...rule,
    cron_expression: `${n % 60} ${Math.floor(n / 60)} * * ${n % 3 ? '*' : 'MON-FRI'}`,
    timezone: ZONES[n % ZONES.length],
    dst: 'vixie',
  }));
  const from = Date.UTC(2026, 0, 1);
  const rate = (count) => {
    const began = performance.now();
    for (let n = 0; n < count; n += 1) nextDue(whens[n % whens.length], new Date(from + n * 60_000));
    return count / ((performance.now() - began) / 1_000);
  };
  return { first: rate(whens.length), known: rate(sizes.times) };
}

const held = (holds) => (holds ? 'kept' : 'MISSED');

console.log(`Node ${process.version}, ${cpus().length} cores, load ${load()}`);
const rounds = Array.from({ length: sizes.rounds }, nextPerSecond);
const known = rounds.map((it) => it.known);
console.log(
  `next due times/s: ${spread(known)}, >= 15k ${held(Math.min(...known) >= 15_000)}; the first of each pattern and zone ${short(rounds[0].first)}`,
);
const stage = await open();
try {
  const first = await createOne(stage);
  await fill(stage, first, sizes.few - 1);
  const few = await idle(stage);
  await fill(stage, first, sizes.schedules - sizes.few);
  const many = await idle(stage);
  const show = ({ percent, mb }) => `${percent.toFixed(2)} % of a core, ${mb.toFixed(0)} MB`;
  console.log(
    `idle, coordinator and Postgres (load ${load()}): ${sizes.few} schedules ${show(few)}; ${sizes.schedules} schedules ${show(many)}, < 3 % ${held(many.percent < 3)}`,
  );
  const due = [];
  for (let n = 0; n < sizes.rounds; n += 1) due.push(await dueAtOnce(stage));
  console.log(
    `${sizes.due} due at once (load ${load()}): the last fired after ${spread(due.map(({ late }) => late))} ms, all seen after ${spread(due.map(({ seen }) => seen))} ms, <= 2000 ${held(Math.max(...due.map(({ seen }) => seen)) <= 2_000)}; coordinator ${stage.residentMb().toFixed(0)} MB`,
  );
} finally {
  await stage.close();
}
