import type { Exclusion, Misfire, Overlap } from '@muster/shared/contract/schedule-rule';
import { newId } from '@muster/shared/ids';
import { openRows, type Rows } from '@muster/testing/rows';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClock } from '../platform/clock.ts';
import type { Ctx } from '../platform/ctx.ts';
import { createClasses } from '../tasks/classes.ts';
import { cancelTask } from '../tasks/store/transitions.ts';
import { jitterMs } from './jitter.ts';
import { deleteSchedule, pauseSchedule, resumeSchedule } from './move.ts';
import { runSchedule } from './run.ts';
import { insertSchedule, type NewSchedule } from './store/schedules.ts';
import { tickLoop } from './tick.ts';
import { dueBetween, nextDue, type When } from './when.ts';

/** More due times than a life has. */
const MANY = 200_000;

/** What happens to a schedule while time goes by; `away`: so many seconds pass and nobody ticks. */
const step = fc.oneof(
  fc.record({ kind: fc.constant('away' as const), seconds: fc.constantFrom(0, 1, 7, 30, 200, 4_000, 400_000) }),
  fc.record({
    kind: fc.constantFrom(
      'tick',
      'tick',
      'tick',
      'ticks at once',
      'pause',
      'resume',
      'end tasks',
      'trigger',
      'tick and pause',
      'tick and delete',
    ),
  }),
);
const life = fc.record({
  rule: fc.oneof(
    fc.record({ cron_expression: fc.constantFrom('*/40 * * * * *', '* * * * *', '0 */3 * * *', '30 2 * * *') }),
    fc.record({ interval_seconds: fc.constantFrom(9, 61, 3_600), phase_seconds: fc.constantFrom(0, 1) }),
  ),
  overlap: fc.constantFrom<Overlap>('SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'CANCEL_OTHER', 'ALLOW_ALL'),
  misfire: fc.constantFrom<Misfire>(
    { policy: 'SKIP' },
    { policy: 'FIRE_ONCE' },
    { policy: 'FIRE_ALL' },
    { policy: 'FIRE_ALL', max: 3 },
  ),
  catch_up_seconds: fc.constantFrom(0, 10, 60, 300),
  jitter_seconds: fc.constantFrom(0, 0, 20),
  max_runs: fc.constantFrom(null, null, null, 5),
  exclude: fc.constantFrom<Exclusion[]>([], [{ weekdays: ['SAT', 'SUN'] }]),
  steps: fc.array(step, { minLength: 3, maxLength: 14 }),
});

describe.each([18, 15] as const)('the history of a schedule, on Postgres %i', (major) => {
  let it: Rows;
  let ctx: Ctx;
  beforeAll(async () => {
    it = await openRows(major);
    ctx = {
      db: it.db,
      clock: createClock(it.sql),
      notifier: { tell() {} },
      log: { debug() {}, info() {}, warn() {}, error() {} },
      principal: { kind: 'key', owner: 'admin', api_key_id: 'admin', scopes: ['admin'] },
      requestId: 'req_test',
    } as unknown as Ctx;
  });
  afterAll(() => it.close());

  test('each due time since it was made has one execution, or is in the count of one gap', async () => {
    const classes = createClasses(it.sql);
    const tick = () => tickLoop(ctx, classes).tick();
    await fc.assert(
      fc
        .asyncProperty(life, async ({ rule, steps, ...policies }) => {
          await ctx.clock.sync();
          const schedule_id = newId('sched');
          const when: When = {
            cron_expression: null,
            interval_seconds: null,
            phase_seconds: 0,
            at: null,
            timezone: 'Europe/Berlin',
            starts_at: null,
            ends_at: null,
            dst: 'vixie',
            exclude: policies.exclude,
            ...rule,
          };
          const since = ctx.clock.now();
          const first = nextDue(when, since)!;
          const task = {
            task_type: 'echo',
            capability_required: 'echo',
            priority: 5,
            timeout_seconds: 60,
            max_retries: 0,
            retry_policy: 'none',
            tags: [],
            input_data: {},
            metadata: {},
          };
          const made: NewSchedule = {
            schedule_id,
            owner: 'admin',
            ...when,
            ...policies,
            ...task,
            next_run_at: first,
            jitter_ms: jitterMs(schedule_id, first, policies.jitter_seconds),
          };
          await insertSchedule(it.sql, made);
          const pause = () => pauseSchedule(ctx, { params: { schedule_id }, query: {}, body: {} });
          const acts = {
            tick,
            'ticks at once': () => Promise.all([tick(), tick()]),
            pause,
            resume: () => resumeSchedule(ctx, schedule_id),
            'end tasks': async () => {
              for (const {
                task_id,
              } of await it.sql`select task_id from task_state where status in ('PENDING', 'BLOCKED')`)
                await cancelTask(it.sql, task_id, null);
            },
            trigger: () =>
              runSchedule(ctx, classes, schedule_id, {
                status: 'TRIGGERED',
                times: ({ now }) => [now],
                overlap: 'ALLOW_ALL',
                by: undefined,
              }),
            'tick and pause': () => Promise.all([tick(), pause()]),
            'tick and delete': () => Promise.all([tick(), deleteSchedule(ctx, schedule_id)]),
          };
          for (const it_ of steps) {
            if ('seconds' in it_) {
              await it.clock.advance(it_.seconds * 1_000);
              await ctx.clock.sync();
            } else
              await acts[it_.kind as keyof typeof acts]().catch((problem) => {
                if (problem.code !== 'conflict') throw problem;
              });
          }
          await tick();
          const [row] =
            (await it.sql`select *, muster_now() as now from schedules where schedule_id = ${schedule_id}`) as unknown as [
              {
                status: string;
                next_run_at: Date | null;
                paused_from: Date | null;
                now: Date;
                total_runs: number;
                skipped: number;
                missed: number;
                fire_at: Date;
              },
            ];
          const rows = await it.sql<
            {
              status: string;
              scheduled_at: Date;
              until: Date | null;
              count: number;
              task_id: string | null;
              execution_number: number | null;
            }[]
          >`
            select * from executions where schedule_id = ${schedule_id}`;
          const ticks = rows.filter(({ status }) => status !== 'TRIGGERED');
          const settled = ticks.flatMap(({ scheduled_at, until, count }) => {
            const found = dueBetween(when, new Date(scheduled_at.getTime() - 1), until ?? scheduled_at, MANY);
            expect(found).toHaveLength(count);
            return found.map(Number);
          });
          settled.sort((a, b) => a - b);
          // Without a hole up to where it goes on, or has ended; where it goes on nothing else has been due.
          // A last run by hand ends it there and then.
          const last = rows.find((it) => it.status === 'TRIGGERED' && it.execution_number === policies.max_runs);
          const over = Math.max(
            settled.at(-1) ?? since.getTime(),
            row.status === 'ENDED' && last ? Number(last.scheduled_at) : 0,
          );
          const end = row.next_run_at ?? row.paused_from ?? new Date(over + 1);
          expect(settled).toEqual(dueBetween(when, since, new Date(end.getTime() - 1), MANY).map(Number));
          if (row.status === 'ACTIVE') expect(row.fire_at.getTime()).toBeGreaterThan(row.now.getTime());
          const sum = (...statuses: string[]) =>
            rows.filter(({ status }) => statuses.includes(status)).reduce((n, { count }) => n + count, 0);
          expect([row.total_runs, row.skipped, row.missed]).toEqual([
            sum('FIRED', 'TRIGGERED'),
            sum('SKIPPED'),
            sum('MISSED'),
          ]);
          expect(
            rows.every(({ status, task_id }) => (task_id !== null) === ['FIRED', 'TRIGGERED'].includes(status)),
          ).toBe(true);
          if (policies.max_runs !== null) expect(sum('FIRED')).toBeLessThanOrEqual(policies.max_runs);
        })
        .afterEach(() => it.finish()),
      { numRuns: 25 },
    );
  });
});
