import type { Dst, Exclusion } from '@muster/shared/contract/schedule-rule';
import { describe, expect, test } from 'vitest';
import { checkWhen } from './check-when.ts';
import { jitterMs } from './jitter.ts';
import { countDue, dueBetween, nextDue, previousDue, type When } from './when.ts';

const whenOf = (over: Partial<When>): When => ({
  cron_expression: null,
  interval_seconds: null,
  phase_seconds: 0,
  at: null,
  timezone: 'UTC',
  starts_at: null,
  ends_at: null,
  exclude: [],
  dst: 'vixie',
  ...over,
});
const cron = (cron_expression: string, timezone = 'UTC', over: Partial<When> = {}) =>
  whenOf({ cron_expression, timezone, ...over });
const short = (at: Date | null) => at?.toISOString().replace(/(:00)?\.000Z$/, 'Z');
const FAR = new Date('2200-01-01');

/** That these are the due times after an instant, however they are asked for. */
function expectDue(when: When, after: string, times: string[]): void {
  const from = new Date(after);
  const due = dueBetween(when, from, FAR, times.length);
  expect(due.map(short)).toEqual(times);
  const last = due.at(-1)!;
  expect(countDue(when, from, last)).toBe(times.length);
  expect(countDue(when, from, new Date(last.getTime() - 1))).toBe(times.length - 1);
  const back: Date[] = [];
  for (let at = new Date(last.getTime() + 1); back.length < times.length; at = back.at(-1)!)
    back.push(previousDue(when, at)!);
  expect(back.reverse()).toEqual(due);
}

describe('when a pattern is due', () => {
  test.each<[string, string, string, string, string[]]>([
    ['every minute', '* * * * *', 'UTC', '2026-01-01T00:00:30Z', ['2026-01-01T00:01Z', '2026-01-01T00:02Z']],
    ['strictly after', '0 0 * * *', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-02T00:00Z']],
    [
      'six parts have seconds',
      '*/20 * * * * *',
      'UTC',
      '2026-01-01T00:00:00Z',
      ['2026-01-01T00:00:20Z', '2026-01-01T00:00:40Z'],
    ],
    [
      'steps and lists',
      '0,30 9-10 * * MON-FRI',
      'UTC',
      '2026-01-02T10:30:00Z',
      ['2026-01-05T09:00Z', '2026-01-05T09:30Z'],
    ],
    ['L: the last day', '0 0 L * *', 'UTC', '2028-02-01T00:00:00Z', ['2028-02-29T00:00Z', '2028-03-31T00:00Z']],
    [
      'W: the weekday next to it',
      '0 0 15W * *',
      'UTC',
      '2026-02-01T00:00:00Z',
      ['2026-02-16T00:00Z', '2026-03-16T00:00Z'],
    ],
    ['LW: the last weekday', '0 0 LW * *', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-30T00:00Z', '2026-02-27T00:00Z']],
    ['#: the second Tuesday', '0 0 * * 2#2', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-13T00:00Z', '2026-02-10T00:00Z']],
    ['L: the last Friday', '0 0 * * FRIL', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-30T00:00Z', '2026-02-27T00:00Z']],
    ['the 13th or a Friday', '0 0 13 * FRI', 'UTC', '2026-01-08T00:00:00Z', ['2026-01-09T00:00Z', '2026-01-13T00:00Z']],
    [
      '+: the 13th and a Friday',
      '0 0 13 * +FRI',
      'UTC',
      '2026-01-08T00:00:00Z',
      ['2026-02-13T00:00Z', '2026-03-13T00:00Z'],
    ],
    ['? is any', '0 0 1 ? ?', 'UTC', '2026-01-08T00:00:00Z', ['2026-02-01T00:00Z']],
    ['29 February', '0 0 29 2 *', 'UTC', '2026-01-01T00:00:00Z', ['2028-02-29T00:00Z', '2032-02-29T00:00Z']],
    [
      '29 February, where a century has none',
      '0 0 29 2 *',
      'Europe/Berlin',
      '2096-01-01T00:00:00Z',
      ['2096-02-28T23:00Z', '2104-02-28T23:00Z'],
    ],
    [
      'a Monday, 29 February',
      '0 0 29 2 +MON',
      'UTC',
      '2025-01-01T00:00:00Z',
      ['2044-02-29T00:00Z', '2072-02-29T00:00Z'],
    ],
    ['@daily', '@daily', 'UTC', '2026-01-01T12:00:00Z', ['2026-01-02T00:00Z']],
    ['@weekly', '@weekly', 'UTC', '2026-01-01T12:00:00Z', ['2026-01-04T00:00Z']],
    ['in its zone', '0 9 * * *', 'Asia/Kolkata', '2026-01-01T00:00:00Z', ['2026-01-01T03:30Z']],
    [
      'three quarters off the hour',
      '0 */12 * * *',
      'Asia/Kathmandu',
      '2026-01-01T00:00:00Z',
      ['2026-01-01T06:15Z', '2026-01-01T18:15Z'],
    ],
    [
      'noon keeps to the wall',
      '0 12 * * *',
      'Europe/Berlin',
      '2026-03-28T00:00:00Z',
      ['2026-03-28T11:00Z', '2026-03-29T10:00Z'],
    ],
  ])('%s: %s', (_, expression, zone, from, expected) => expectDue(cron(expression, zone), from, expected));

  const RUN_ONCE: Dst = { gap: 'run_after', repeat: 'first' };
  const RUN_ALL: Dst = { gap: 'run_after', repeat: 'both' };
  const SKIP_ONCE: Dst = { gap: 'skip', repeat: 'first' };
  const SKIP_ALL: Dst = { gap: 'skip', repeat: 'both' };
  const gone = ['America/New_York', '2026-03-07T12:00:00Z'] as const;
  const again = ['America/New_York', '2026-10-31T12:00:00Z'] as const;
  const apia = ['Pacific/Apia', '2011-12-29T12:00:00Z'] as const;
  test.each<[string, Dst, string, string, string, string[]]>([
    [
      '02:30 that does not come is due as the gap ends',
      'vixie',
      '30 2 * * *',
      ...gone,
      ['2026-03-08T07:00Z', '2026-03-09T06:30Z'],
    ],
    ['every half hour of a gap is skipped', 'vixie', '*/30 2 * * *', ...gone, ['2026-03-09T06:00Z']],
    ['or made up for once', RUN_ALL, '*/30 2 * * *', ...gone, ['2026-03-08T07:00Z', '2026-03-09T06:00Z']],
    [
      'together with what is due then',
      RUN_ALL,
      '0 * * * *',
      'America/New_York',
      '2026-03-08T06:30:00Z',
      ['2026-03-08T07:00Z', '2026-03-08T08:00Z'],
    ],
    ['02:30 skipped', SKIP_ALL, '30 2 * * *', ...gone, ['2026-03-09T06:30Z']],
    ['01:30 that comes twice is due once', 'vixie', '30 1 * * *', ...again, ['2026-11-01T05:30Z', '2026-11-02T06:30Z']],
    [
      'each half hour is due both times',
      'vixie',
      '*/30 1 * * *',
      ...again,
      ['2026-11-01T05:00Z', '2026-11-01T05:30Z', '2026-11-01T06:00Z', '2026-11-01T06:30Z', '2026-11-02T06:00Z'],
    ],
    [
      'or at the first',
      SKIP_ONCE,
      '*/30 1 * * *',
      ...again,
      ['2026-11-01T05:00Z', '2026-11-01T05:30Z', '2026-11-02T06:00Z'],
    ],
    [
      '01:30 both times',
      SKIP_ALL,
      '30 1 * * *',
      ...again,
      ['2026-11-01T05:30Z', '2026-11-01T06:30Z', '2026-11-02T06:30Z'],
    ],
    [
      'Berlin springs forward',
      'vixie',
      '30 2 * * *',
      'Europe/Berlin',
      '2026-03-28T12:00:00Z',
      ['2026-03-29T01:00Z', '2026-03-30T00:30Z'],
    ],
    [
      'Berlin falls back',
      'vixie',
      '30 2 * * *',
      'Europe/Berlin',
      '2026-10-24T12:00:00Z',
      ['2026-10-25T00:30Z', '2026-10-26T01:30Z'],
    ],
    [
      'Lord Howe springs forward by half an hour',
      'vixie',
      '15 2 * * *',
      'Australia/Lord_Howe',
      '2026-10-03T00:00:00Z',
      ['2026-10-03T15:30Z', '2026-10-04T15:15Z'],
    ],
    [
      'Lord Howe falls back by half an hour',
      RUN_ALL,
      '45 1 * * *',
      'Australia/Lord_Howe',
      '2026-04-04T00:00:00Z',
      ['2026-04-04T14:45Z', '2026-04-04T15:15Z', '2026-04-05T15:15Z'],
    ],
    [
      'Sao Paulo springs forward at midnight',
      'vixie',
      '0 0 * * *',
      'America/Sao_Paulo',
      '2018-11-03T12:00:00Z',
      ['2018-11-04T03:00Z', '2018-11-05T02:00Z'],
    ],
    [
      'Sao Paulo falls back at midnight, to the day before',
      'vixie',
      '30 23 * * *',
      'America/Sao_Paulo',
      '2018-02-17T12:00:00Z',
      ['2018-02-18T01:30Z', '2018-02-19T02:30Z'],
    ],
    [
      'a gap up to midnight has no moment after it on the same day',
      'vixie',
      '30 23 * * *',
      'America/Nuuk',
      '2026-03-28T12:00:00Z',
      ['2026-03-30T00:30Z'],
    ],
    [
      'but run_after does not ask for one',
      RUN_ONCE,
      '30 23 * * *',
      'America/Nuuk',
      '2026-03-28T12:00:00Z',
      ['2026-03-29T01:00Z', '2026-03-30T00:30Z'],
    ],
    ['Apia has no 30 December 2011', 'vixie', '0 9 * * *', ...apia, ['2011-12-29T19:00Z', '2011-12-30T19:00Z']],
    [
      'or makes up for it',
      RUN_ONCE,
      '0 9 * * *',
      ...apia,
      ['2011-12-29T19:00Z', '2011-12-30T10:00Z', '2011-12-30T19:00Z'],
    ],
  ])('%s (%o, %s)', (_, dst, expression, zone, from, expected) =>
    expectDue(cron(expression, zone, { dst }), from, expected),
  );
});

describe('when else a schedule is due', () => {
  test('by an interval, counted from 1970 and its phase', () => {
    expectDue(whenOf({ interval_seconds: 90 }), '2026-01-01T00:00:00Z', ['2026-01-01T00:01:30Z', '2026-01-01T00:03Z']);
    expectDue(whenOf({ interval_seconds: 3_600, phase_seconds: 4_200 }), '2026-01-01T00:10:00Z', [
      '2026-01-01T01:10Z',
      '2026-01-01T02:10Z',
    ]);
    // Twelve hours are twelve hours, whatever the clocks do.
    expectDue(whenOf({ interval_seconds: 43_200, timezone: 'America/New_York' }), '2026-03-08T00:00:00Z', [
      '2026-03-08T12:00Z',
      '2026-03-09T00:00Z',
    ]);
  });

  test('once', () => {
    const once = whenOf({ at: new Date('2026-02-03T04:05:06Z') });
    expectDue(once, '2026-01-01T00:00:00Z', ['2026-02-03T04:05:06Z']);
    expect(nextDue(once, once.at!)).toBeNull();
    expect(previousDue(once, once.at!)).toBeNull();
  });

  test('from its start until its end, both with what is due then', () => {
    const when = cron('0 * * * *', 'UTC', {
      starts_at: new Date('2026-01-02T00:00:00Z'),
      ends_at: new Date('2026-01-02T02:00:00Z'),
    });
    expectDue(when, '2026-01-01T00:00:00Z', ['2026-01-02T00:00Z', '2026-01-02T01:00Z', '2026-01-02T02:00Z']);
    expect(nextDue(when, new Date('2026-01-02T02:00:00Z'))).toBeNull();
    expect(previousDue(when, new Date('2026-01-02T00:00:00Z'))).toBeNull();
    expect(short(previousDue(when, FAR))).toBe('2026-01-02T02:00Z');
    expect(countDue(when, new Date(0), FAR)).toBe(3);
  });

  const workdays: Exclusion[] = [
    { weekdays: ['SAT', 'SUN'] },
    { annual: '12-25' },
    { date: '2026-12-28' },
    { from: '2026-12-30', to: '2027-01-02' },
  ];
  test('but not on a date that is left out, as dates are in its zone', () => {
    expectDue(cron('0 9 * * *', 'UTC', { exclude: workdays }), '2026-12-24T09:00:00Z', [
      '2026-12-29T09:00Z',
      '2027-01-04T09:00Z',
    ]);
    // 25 December begins in Auckland at 11:00 of the day before.
    const auckland = cron('0 * * * *', 'Pacific/Auckland', { exclude: [{ annual: '12-25' }] });
    expectDue(auckland, '2026-12-24T10:00:00Z', ['2026-12-25T11:00Z', '2026-12-25T12:00Z']);
    const interval = whenOf({ interval_seconds: 3_600, timezone: 'Pacific/Auckland', exclude: [{ annual: '12-25' }] });
    expectDue(interval, '2026-12-24T10:00:00Z', ['2026-12-25T11:00Z', '2026-12-25T12:00Z']);
  });

  test('every second of years is counted at once, and years that are left out are passed over', () => {
    const since = process.cpuUsage();
    const all = { exclude: [{ from: '1970-01-01', to: '2040-12-31' }] };
    expect(
      countDue(
        cron('* * * * * *', 'Europe/Berlin'),
        new Date('2025-12-31T23:59:59Z'),
        new Date('2030-12-31T23:59:59Z'),
      ),
    ).toBe(1_826 * 86_400);
    expect(short(nextDue(cron('* * * * * *', 'UTC', all), new Date('2026-01-01')))).toBe('2041-01-01T00:00Z');
    expect(countDue(cron('* * * * * *', 'UTC', all), new Date('2026-01-01'), new Date('2041-01-01'))).toBe(1);
    expect(
      nextDue(
        cron('* * * * * *', 'UTC', { exclude: [{ from: '1970-01-01', to: '2999-12-31' }] }),
        new Date('2026-01-01'),
      ),
    ).toBeNull();
    expect(process.cpuUsage(since).user / 1_000).toBeLessThan(3_000);
  });

  test('dates that are left out are passed over alike one by one and at a leap, about each change of clocks', () => {
    const days: Exclusion[] = [
      { weekdays: ['SUN', 'TUE'] },
      { annual: '02-29' },
      { annual: '12-31' },
      { date: '2026-03-30' },
      { from: '2026-10-24', to: '2026-10-26' },
      { from: '2011-12-20', to: '2011-12-31' },
      { from: '2011-12-28', to: '2012-01-08' },
      { from: '2026-04-01', to: '2026-04-20' },
    ];
    const names = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
    const stays = (timezone: string) => {
      const clock = new Intl.DateTimeFormat('en-CA', { timeZone: timezone, dateStyle: 'short' });
      return (at: Date) => {
        const date = clock.format(at);
        const weekday = names[new Date(date).getUTCDay()]!;
        return !days.some((it) => {
          if ('date' in it) return it.date === date;
          if ('from' in it) return it.from <= date && date <= it.to;
          return 'annual' in it ? date.endsWith(it.annual) : (it.weekdays as string[]).includes(weekday);
        });
      };
    };
    for (const timezone of ['Europe/Berlin', 'Pacific/Apia', 'Australia/Lord_Howe', 'America/Sao_Paulo'])
      for (const pattern of ['30 * * * *', '15 2,23 * * *', '0 0 * * *', '59 23 * * MON'])
        for (const [from, to] of [
          ['2011-12-01', '2012-02-01'],
          ['2026-03-01', '2026-05-01'],
          ['2026-10-01', '2026-11-20'],
          ['2028-02-20', '2028-03-10'],
        ] as const) {
          const [begin, end] = [new Date(from), new Date(to)];
          const all = dueBetween(cron(pattern, timezone), begin, end, 5_000);
          const wanted = all.filter(stays(timezone));
          const when = cron(pattern, timezone, { exclude: days });
          expect(dueBetween(when, begin, end, 5_000), `${pattern} ${timezone} ${from}`).toEqual(wanted);
          expect(countDue(when, begin, end)).toBe(wanted.length);
          const back: Date[] = [];
          for (let at = previousDue(when, new Date(end.getTime() + 1)); at && at > begin; at = previousDue(when, at))
            back.unshift(at);
          expect(back, `${pattern} ${timezone} ${to}, back`).toEqual(wanted);
        }
  });

  test('a rule that leaves out nearly all dates takes no longer', () => {
    const dates = Array.from({ length: 365 }, (_, n) => new Date(Date.UTC(2027, 0, 1 + n)).toISOString().slice(5, 10));
    const exclude: Exclusion[] = [
      ...dates.map((annual) => ({ annual })),
      { weekdays: ['MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'] },
    ];
    const since = process.cpuUsage();
    const due = dueBetween(cron('0 0 * * *', 'Europe/Berlin', { exclude }), new Date('2027-01-01'), FAR, 6);
    expect(due.map(short).slice(0, 2)).toEqual(['2032-02-28T23:00Z', '2060-02-28T23:00Z']);
    expect(due).toHaveLength(6);
    expect(process.cpuUsage(since).user / 1_000).toBeLessThan(500);
  });

  test('later by a jitter that is the same for a due time and evenly spread', () => {
    const at = (n: number) => new Date(1_800_000_000_000 + n * 60_000);
    const jitters = Array.from({ length: 2_000 }, (_, n) => jitterMs('sched_a', at(n), 10));
    expect(jitters).toEqual(jitters.map((_, n) => jitterMs('sched_a', at(n), 10)));
    expect(jitters.every((it) => Number.isInteger(it) && it >= 0 && it < 10_000)).toBe(true);
    const tenths = Array.from({ length: 10 }, (_, n) => jitters.filter((it) => Math.floor(it / 1_000) === n).length);
    expect(Math.min(...tenths)).toBeGreaterThan(120);
    expect(jitterMs('sched_b', at(0), 10)).not.toBe(jitters[0]);
    expect(jitterMs('sched_a', at(0), 0)).toBe(0);
  });
});

describe('what is refused', () => {
  const NOW = new Date('2026-01-01T00:00:00Z');
  const refusal = (when: When, minSeconds = 1) => {
    try {
      return checkWhen(when, NOW, minSeconds).toISOString();
    } catch (error) {
      return error as Error;
    }
  };
  test.each([
    '',
    'x',
    '* * * *',
    '* * * * * * *',
    '60 * * * *',
    '* 24 * * *',
    '* * 32 * *',
    '* * * 13 *',
    '* * * * 8',
    '*/0 * * * *',
    '-1 * * * *',
    '5-1 * * * *',
    '* * * * 5#6',
    '１ * * * *',
    '* * *\n* *',
    '@reboot',
    `${'0,'.repeat(200)}0 * * * *`,
  ])('the pattern %j', (expression) => {
    const error = refusal(cron(expression));
    expect(error).toMatchObject({ code: 'invalid-cron', status: 422, errors: [{ pointer: '#/cron_expression' }] });
    expect((error as Error).message).toContain(JSON.stringify(expression.slice(0, 256)).slice(0, -1));
  });
  test('a pattern of too few parts is told how many it may have', () => {
    expect((refusal(cron('* * * *')) as Error).message).toMatch(/exactly five or six space separated parts/);
  });
  test.each(['', 'Mars/Olympus', '+02:00', '-05', 'Europe/Berlin ', 'UTC+1', '/etc/localtime', '\0'])(
    'the zone %j',
    (zone) => {
      expect(refusal(cron('* * * * *', zone))).toMatchObject({
        code: 'invalid-timezone',
        errors: [{ pointer: '#/timezone' }],
      });
    },
  );

  const past = new Date('2025-01-01T00:00:00Z');
  const gap = cron('30 2 29 3 *', 'Europe/Berlin', {
    dst: { gap: 'skip', repeat: 'both' },
    ends_at: new Date('2026-12-31'),
  });
  test.each<[string, When, string, RegExp]>([
    ['30 February', cron('0 0 30 2 *'), '#/cron_expression', /"0 0 30 2 \*" never comes/],
    ['31 of short months', cron('0 0 31 2,4,6,9,11 *'), '#/cron_expression', /never comes/],
    ['what has passed', whenOf({ at: past }), '#/at', /2025-01-01T00:00:00.000Z has passed/],
    [
      'what is before its start',
      whenOf({ at: new Date('2026-02-01'), starts_at: new Date('2026-03-01') }),
      '#/at',
      /between/,
    ],
    ['an end in the past', cron('* * * * *', 'UTC', { ends_at: past }), '#/ends_at', /ends_at 2025.* has passed/],
    [
      'an end before the start',
      cron('* * * * *', 'UTC', { starts_at: new Date('2026-03-01'), ends_at: new Date('2026-02-01') }),
      '#/ends_at',
      /is before starts_at 2026-03/,
    ],
    [
      'nothing until the end',
      cron('0 0 1 7 *', 'UTC', { ends_at: new Date('2026-06-01') }),
      '#/ends_at',
      /no time between/,
    ],
    [
      'every day left out',
      cron('* * * * *', 'UTC', { exclude: [{ weekdays: ['MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT', 'SUN'] }] }),
      '#/exclude',
      /left out/,
    ],
    ['an hour that does not come', gap, '#/ends_at', /no time between/],
  ])('what is never due: %s', (_, when, pointer, message) => {
    const error = refusal(when);
    expect(error).toMatchObject({ code: 'schedule-never-fires', status: 422, errors: [{ pointer }] });
    expect((error as Error).message).toMatch(message);
  });

  test.each<[When, number, string | undefined]>([
    [cron('* * * * * *'), 1, undefined],
    [cron('* * * * * *'), 2, '#/cron_expression'],
    [cron('*/15 * * * *'), 900, undefined],
    [cron('*/15 * * * *'), 901, '#/cron_expression'],
    [cron('0,59 0,23 * * *'), 60, undefined],
    [cron('0,59 0,23 * * *'), 61, '#/cron_expression'],
    // Midnight follows on 23:59 where the next day is due as well, and only there.
    [cron('59 23,0 1 * *'), 3_600, undefined],
    [cron('59 23,0 1,2 * *'), 3_601, '#/cron_expression'],
    [whenOf({ interval_seconds: 59 }), 60, '#/interval_seconds'],
    [whenOf({ interval_seconds: 60 }), 60, undefined],
  ])('what is more often than is allowed: %j, every %i s', (when, minSeconds, pointer) => {
    const answer = refusal(when, minSeconds);
    if (pointer) expect(answer).toMatchObject({ code: 'schedule-too-frequent', errors: [{ pointer }] });
    else expect(answer).toMatch(/^2026-/);
  });
});
