import type { Misfire } from '@muster/shared/contract/schedule-rule';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jitterMs } from './jitter.ts';
import { judge } from './misfire.ts';
import { dueBetween } from './when.ts';

const NOW = Date.parse('2026-05-05T12:00:00.400Z');
const at = (seconds: number) => new Date(Math.floor(NOW / 1_000) * 1_000 + seconds * 1_000);
/** A schedule of every second, by the clock of nobody. */
const every = (over: Partial<Parameters<typeof judge>[0]> = {}) => ({
  schedule_id: 'sched_x',
  cron_expression: null,
  interval_seconds: 1,
  phase_seconds: 0,
  at: null,
  timezone: 'UTC',
  starts_at: null,
  ends_at: null,
  exclude: [],
  dst: 'vixie' as const,
  next_run_at: at(-100),
  jitter_seconds: 0,
  catch_up_seconds: 60,
  misfire: { policy: 'FIRE_ALL' } as Misfire,
  ...over,
});
const seconds = (times: Date[]) => times.map((time) => (time.getTime() - at(0).getTime()) / 1_000);
const span = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);
const missed = (from: number, to: number, reason: string) => ({
  scheduled_at: at(from),
  until: from === to ? null : at(to),
  count: to - from + 1,
  reason,
});

describe('what becomes of a hundred seconds nobody was there for', () => {
  test.each([
    ['FIRE_ALL', { policy: 'FIRE_ALL' }, span(-59, 0), [missed(-100, -60, 'too-late')]],
    [
      'FIRE_ALL of 3',
      { policy: 'FIRE_ALL', max: 3 },
      [-7, -6, ...span(-5, 0)],
      [missed(-100, -60, 'too-late'), missed(-59, -8, 'coalesced')],
    ],
    ['FIRE_ONCE', { policy: 'FIRE_ONCE' }, span(-5, 0), [missed(-100, -60, 'too-late'), missed(-59, -6, 'coalesced')]],
    ['SKIP', { policy: 'SKIP' }, span(-4, 0), [missed(-100, -60, 'too-late'), missed(-59, -5, 'late')]],
  ] as [string, Misfire, number[], unknown[]][])('%s', (_, misfire, due, gaps) => {
    const judged = judge(every({ misfire }), new Date(NOW), 1_000);
    expect(seconds(judged.due)).toEqual(due);
    expect(judged.missed).toEqual(gaps);
    expect(judged.following).toEqual(at(1));
  });
});

describe('due times', () => {
  test('more than may fire at once are left for the next time', () => {
    const judged = judge(every(), new Date(NOW), 10);
    expect(seconds(judged.due)).toEqual(span(-59, -50));
    expect(judged.following).toEqual(at(-49));
  });

  test('a year of seconds that nobody can catch up with is counted, not walked through', () => {
    const began = process.cpuUsage();
    const year = 365 * 86_400;
    const judged = judge(every({ next_run_at: at(-year), catch_up_seconds: 0 }), new Date(NOW), 10);
    expect(judged.missed).toEqual([missed(-year, -5, 'too-late')]);
    expect(process.cpuUsage(began).user / 1_000).toBeLessThan(1_000);
  });

  test('jitter puts off when a time fires, and is no lateness', () => {
    const it = every({ jitter_seconds: 30, next_run_at: at(-40), misfire: { policy: 'SKIP' } });
    const judged = judge(it, new Date(NOW), 1_000);
    // Those up to 35 s ago are late whatever their jitter; of the others each waits for the one before it.
    expect(judged.missed).toEqual([missed(-40, -35, 'late')]);
    const fires = (second: number) => at(second).getTime() + jitterMs('sched_x', at(second), 30) <= NOW;
    const first = span(-34, 0).find((second) => !fires(second))!;
    expect(seconds(judged.due)).toEqual(span(-34, first - 1));
    expect(judged.following).toEqual(at(first));
  });

  test('the last one has nothing after it', () => {
    expect(judge(every({ ends_at: at(-1), next_run_at: at(-3) }), new Date(NOW), 9)).toMatchObject({
      following: null,
      missed: [],
    });
    const past = judge(every({ ends_at: at(-80) }), new Date(NOW), 9);
    expect(past).toEqual({ due: [], missed: [missed(-100, -80, 'too-late')], following: null });
    expect(judge({ ...every(), interval_seconds: null, at: at(-1), next_run_at: at(-1) }, new Date(NOW), 9)).toEqual({
      due: [at(-1)],
      missed: [],
      following: null,
    });
  });

  test('each is fired, missed or still to come, once, whatever the policy, the pace and the pause', () => {
    const some = fc.record({
      policy: fc.constantFrom('SKIP', 'FIRE_ONCE', 'FIRE_ALL'),
      max: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
      interval: fc.integer({ min: 1, max: 90 }),
      jitter: fc.constantFrom(0, 0, 3, 40),
      catchUp: fc.constantFrom(0, 2, 60, 600),
      away: fc.integer({ min: 0, max: 1_200 }),
      limit: fc.integer({ min: 1, max: 50 }),
    });
    fc.assert(
      fc.property(some, ({ policy, max, interval, jitter, catchUp, away, limit }) => {
        const rule = every({
          interval_seconds: interval,
          jitter_seconds: jitter,
          catch_up_seconds: catchUp,
          misfire: { policy, ...(max !== undefined && { max }) } as Misfire,
        });
        const all = dueBetween(rule, at(-away - 91), new Date(NOW), 10_000);
        fc.pre(all.length > 0);
        const { due, missed: gaps, following } = judge({ ...rule, next_run_at: all[0]! }, new Date(NOW), limit);
        const settled = [
          ...due,
          ...gaps.flatMap((gap) =>
            dueBetween(rule, new Date(gap.scheduled_at.getTime() - 1), gap.until ?? gap.scheduled_at, 10_000),
          ),
        ];
        expect(settled.length).toBe(due.length + gaps.reduce((sum, gap) => sum + gap.count, 0));
        const sorted = settled.map(Number).sort((a, b) => a - b);
        expect(sorted).toEqual(all.slice(0, sorted.length).map(Number));
        expect(following).toEqual(all[sorted.length] ?? dueBetween(rule, new Date(NOW), at(1_000), 1)[0]);
      }),
      { numRuns: 300 },
    );
  });
});
