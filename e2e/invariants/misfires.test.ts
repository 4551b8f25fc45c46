import { createSchedule, getSchedule } from '@muster/shared/contract/schedules';
import { createDatabase, eventually, testClock } from '@muster/testing';
import { type Random, randomOf, seedOf } from '@muster/testing/random';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startNetwork } from '../fixtures/network.ts';
import { SCALE, TIMEOUT_MS } from '../proof/scale.ts';
import { persist } from './cluster.ts';

/** A fiftieth of what is promised, and that so many times: so many patterns in each zone. */
const PATTERNS = 20;
/** Some whose clocks are set on that day, some whose are not, and some that are off the hour. */
const ZONES = [
  'UTC',
  'Europe/Berlin',
  'Europe/London',
  'Atlantic/Azores',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'Pacific/Chatham',
];
const seed = seedOf('PROOF_SEED');

const MINUTE = 60_000;
/** They are made, and due from when all coordinators are gone until a minute before one is back: it has a minute to fire them. At 01:00 UTC clocks are set in Europe. */
const MADE_AT = '2027-03-27T21:00:00Z';
const DUE = { starts_at: '2027-03-27T23:40:00.000Z', ends_at: '2027-03-28T02:39:00.000Z' };
const BACK_AT = '2027-03-28T02:40:01Z';
const MISFIRES = ['SKIP', 'FIRE_ONCE', 'FIRE_ALL', { policy: 'FIRE_ALL', max: 3 }] as const;

/** A pattern, and whether it is due when clocks show that time; of every hour, so that it does not matter which hour they leave out. */
interface Pattern {
  cron_expression: string;
  isDue(minute: number): boolean;
}

interface Rule {
  timezone: string;
  misfire: (typeof MISFIRES)[number];
  catch_up_seconds: number;
}

test(
  `I9: of ${PATTERNS * SCALE} patterns in ${ZONES.length} zones, what came due while all coordinators were gone is made up for exactly as each schedule says (seed ${seed})`,
  async () => {
    const random = randomOf(seed);
    let missed = 0;
    for (let round = 0; round < SCALE; round += 1) missed += await leaveAlone(random);
    expect(missed).toBeGreaterThan(10 * PATTERNS * ZONES.length * SCALE);
  },
  TIMEOUT_MS,
);

/** Makes schedules, and looks what became of their due times after hours without a coordinator. Answers how many did not fire. */
async function leaveAlone(random: Random): Promise<number> {
  const database = await createDatabase();
  const sql = postgres(database.url, { max: 1 });
  onTestFinished(async () => {
    await sql.end({ timeout: 1 });
    await database.drop();
  });
  const clock = testClock(sql, database.url);
  const before = await startNetwork({ databaseUrl: database.url });
  await clock.setTo(MADE_AT);
  const rules = ZONES.flatMap((timezone) => Array.from({ length: PATTERNS }, () => makeRule(random, timezone)));
  const made = await inParallel(rules, 4, async ({ isDue, ...rule }) => {
    const body = { task_type: 'work', input_data: null, overlap: 'ALLOW_ALL' as const, ...DUE, ...rule };
    const { schedule_id } = await persist(() => before.admin(createSchedule, { body }));
    return { ...rule, isDue, schedule_id };
  });
  await before.coordinator.stop();
  await clock.setTo(BACK_AT, { beats: 'missed' });
  const after = await startNetwork({ databaseUrl: database.url });
  await eventually(
    async () => {
      await after.coordinator.tick();
      expect(await sql`select schedule_id from schedules where status <> 'ENDED'`).toEqual([]);
    },
    { timeoutMs: MINUTE },
  );

  const executions = await sql<{ schedule_id: string; status: string; at: Date; count: number }[]>`
    select schedule_id, status, scheduled_at as at, count from executions order by scheduled_at`;
  const missed = await inParallel(made, 4, async ({ schedule_id, ...rule }) => {
    const { due, fired } = oracle(rule);
    const own = executions.filter((it) => it.schedule_id === schedule_id);
    expect(own.filter(({ status }) => status === 'FIRED').map(({ at }) => at.getTime())).toEqual(fired);
    const gaps = own.filter(({ status }) => status === 'MISSED').reduce((sum, { count }) => sum + count, 0);
    expect(gaps).toBe(due.length - fired.length);
    const { total_runs, missed } = await persist(() => after.admin(getSchedule, { params: { schedule_id } }));
    expect([total_runs, missed]).toEqual([fired.length, gaps]);
    return missed;
  });
  await after.coordinator.stop();
  return missed.reduce((sum, n) => sum + n, 0);
}

function makeRule(random: Random, timezone: string): Rule & Pattern {
  const [minute, step] = [random.below(60), random.between(2, 30)];
  const pattern = random.pick<Pattern>([
    { cron_expression: `${minute} * * * *`, isDue: (it) => it === minute },
    { cron_expression: `*/${step} * * * *`, isDue: (it) => it % step === 0 },
    { cron_expression: '* * * * *', isDue: () => true },
  ]);
  const catch_up_seconds = 60 * random.pick([0, 2, 30, 6_000]);
  return { timezone, misfire: random.pick(MISFIRES), catch_up_seconds, ...pattern };
}

/** The due times that passed, minute by minute on the clocks of the zone, and those of them that fire. */
function oracle({ timezone, isDue, misfire, catch_up_seconds }: Rule & Pick<Pattern, 'isDue'>) {
  const clock = new Intl.DateTimeFormat('en', { timeZone: timezone, minute: 'numeric' });
  const due: number[] = [];
  for (let at = Date.parse(DUE.starts_at); at <= Date.parse(DUE.ends_at); at += MINUTE)
    if (isDue(Number(clock.format(at)))) due.push(at);
  // All of them are late; not all are too late.
  const young = due.filter((at) => at >= Date.parse(BACK_AT) - catch_up_seconds * 1_000);
  const { policy, max = young.length } = typeof misfire === 'string' ? { policy: misfire, max: undefined } : misfire;
  const kept = policy === 'SKIP' ? 0 : policy === 'FIRE_ONCE' ? 1 : max;
  return { due, fired: kept > 0 ? young.slice(-kept) : [] };
}
