import { createSchedule, getSchedule } from '@muster/shared/contract/schedules';
import { createDatabase, eventually, testClock } from '@muster/testing';
import { randomOf, seedOf } from '@muster/testing/random';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startNetwork } from '../fixtures/network.ts';
import { SCALE, TIMEOUT_MS } from './cluster.ts';

/** A fiftieth of what is promised, unless said: so many patterns in each zone. */
const PATTERNS = 20 * SCALE;
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
/** At 01:00 UTC clocks are set in Europe. The seconds keep what decides away from any minute. */
const [FROM, TO] = ['2027-03-27T23:40:10Z', '2027-03-28T02:40:10Z'];
/** What passed by no more than this is on time. */
const ON_TIME_MS = 5_000;
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
  since: number;
}

test(
  `I9: of ${PATTERNS} patterns in ${ZONES.length} zones, what came due while all coordinators were gone is made up for exactly as each schedule says (seed ${seed})`,
  async () => {
    const random = randomOf(seed);
    const database = await createDatabase();
    const sql = postgres(database.url, { max: 1 });
    onTestFinished(async () => {
      await sql.end({ timeout: 1 });
      await database.drop();
    });
    const clock = testClock(sql, database.url);
    const before = await startNetwork({ databaseUrl: database.url });
    await clock.setTo(FROM);
    const makePattern = () => {
      const minute = random.below(60);
      const step = random.between(2, 30);
      return random.pick<Pattern>([
        { cron_expression: `${minute} * * * *`, isDue: (it) => it === minute },
        { cron_expression: `*/${step} * * * *`, isDue: (it) => it % step === 0 },
        { cron_expression: '* * * * *', isDue: () => true },
      ]);
    };
    const all = ZONES.flatMap((timezone) =>
      Array.from({ length: PATTERNS }, () => {
        const rule = {
          timezone,
          misfire: random.pick(MISFIRES),
          catch_up_seconds: 60 * random.pick([0, 1, 30, 6_000]),
        };
        return { pattern: makePattern(), ...rule };
      }),
    );
    const made = await inParallel(all, 16, async ({ pattern: { cron_expression, isDue }, ...rule }) => {
      const body = { task_type: 'work', input_data: null, overlap: 'ALLOW_ALL' as const, cron_expression, ...rule };
      const { schedule_id, created_at } = await before.admin(createSchedule, { body });
      return { ...rule, schedule_id, isDue, since: Date.parse(created_at) };
    });
    await before.coordinator.stop();
    await clock.setTo(TO, { beats: 'missed' });
    const after = await startNetwork({ databaseUrl: database.url });
    await eventually(async () => {
      await after.coordinator.tick();
      expect(await sql`select schedule_id from schedules where next_run_at <= (select muster_now())`).toEqual([]);
    });

    const executions = await sql<{ schedule_id: string; status: string; at: Date; count: number }[]>`
    select schedule_id, status, scheduled_at as at, count from executions order by scheduled_at`;
    let missed = 0;
    await inParallel(made, 8, async ({ schedule_id, ...rule }) => {
      const { due, fired } = oracle(rule);
      const own = executions.filter((it) => it.schedule_id === schedule_id);
      expect(own.filter(({ status }) => status === 'FIRED').map(({ at }) => at.getTime())).toEqual(fired);
      const gaps = own.filter(({ status }) => status === 'MISSED');
      expect(gaps.reduce((sum, { count }) => sum + count, 0)).toBe(due.length - fired.length);
      const { total_runs, missed: counted } = await after.admin(getSchedule, { params: { schedule_id } });
      expect([total_runs, counted]).toEqual([fired.length, due.length - fired.length]);
      missed += counted;
    });
    expect(missed).toBeGreaterThan(10 * all.length);
  },
  TIMEOUT_MS,
);

/** The due times that passed, minute by minute on the clocks of the zone, and those of them that fire. */
function oracle({ timezone, isDue, since, misfire, catch_up_seconds }: Rule & Pick<Pattern, 'isDue'>) {
  const clock = new Intl.DateTimeFormat('en', { timeZone: timezone, minute: 'numeric' });
  const now = Date.parse(TO!);
  const due: number[] = [];
  for (let at = Math.ceil(since / MINUTE) * MINUTE; at <= now; at += MINUTE)
    if (isDue(Number(clock.format(at)))) due.push(at);
  const late = due.filter((at) => at < now - ON_TIME_MS);
  const young = late.filter((at) => at >= now - catch_up_seconds * 1_000);
  const { policy, max = young.length } = typeof misfire === 'string' ? { policy: misfire, max: undefined } : misfire;
  const kept = policy === 'SKIP' ? 0 : policy === 'FIRE_ONCE' ? 1 : max;
  return { due, fired: [...(kept > 0 ? young.slice(-kept) : []), ...due.slice(late.length)] };
}
