import { describe, expect, test } from 'vitest';
import { firstRun, nextRun, nextRuns } from './cron.ts';

const next = (cron: string, zone: string, from: string, count = 3) =>
  nextRuns(cron, zone, new Date(from), count).map((at) => at.toISOString().replace('.000Z', 'Z'));

describe('when a pattern fires', () => {
  test.each([
    ['every minute', '* * * * *', 'UTC', '2026-01-01T00:00:30Z', ['2026-01-01T00:01:00Z', '2026-01-01T00:02:00Z']],
    ['strictly after', '0 0 * * *', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-02T00:00:00Z']],
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
      ['2026-01-05T09:00:00Z', '2026-01-05T09:30:00Z'],
    ],
    ['L: the last day', '0 0 L * *', 'UTC', '2028-02-01T00:00:00Z', ['2028-02-29T00:00:00Z', '2028-03-31T00:00:00Z']],
    [
      'W: the weekday next to it',
      '0 0 15W * *',
      'UTC',
      '2026-02-01T00:00:00Z',
      ['2026-02-16T00:00:00Z', '2026-03-16T00:00:00Z'],
    ],
    [
      '#: the second Tuesday',
      '0 0 * * 2#2',
      'UTC',
      '2026-01-01T00:00:00Z',
      ['2026-01-13T00:00:00Z', '2026-02-10T00:00:00Z'],
    ],
    ['29 February', '0 0 29 2 *', 'UTC', '2026-01-01T00:00:00Z', ['2028-02-29T00:00:00Z']],
    ['@daily', '@daily', 'UTC', '2026-01-01T12:00:00Z', ['2026-01-02T00:00:00Z']],
    ['in the zone', '0 9 * * *', 'Asia/Kolkata', '2026-01-01T00:00:00Z', ['2026-01-01T03:30:00Z']],
    [
      'New York springs forward: 02:30 is not there, the hour after it is',
      '30 2 * * *',
      'America/New_York',
      '2026-03-07T12:00:00Z',
      ['2026-03-08T07:00:00Z', '2026-03-09T06:30:00Z'],
    ],
    [
      'New York falls back: 01:30 comes once',
      '30 1 * * *',
      'America/New_York',
      '2026-10-31T12:00:00Z',
      ['2026-11-01T05:30:00Z', '2026-11-02T06:30:00Z'],
    ],
    [
      'Berlin springs forward',
      '30 2 * * *',
      'Europe/Berlin',
      '2026-03-28T12:00:00Z',
      ['2026-03-29T01:00:00Z', '2026-03-30T00:30:00Z'],
    ],
    [
      'Berlin falls back',
      '30 2 * * *',
      'Europe/Berlin',
      '2026-10-24T12:00:00Z',
      ['2026-10-25T00:30:00Z', '2026-10-26T01:30:00Z'],
    ],
    [
      'noon keeps to the wall',
      '0 12 * * *',
      'Europe/Berlin',
      '2026-03-28T00:00:00Z',
      ['2026-03-28T11:00:00Z', '2026-03-29T10:00:00Z'],
    ],
  ])('%s', (_, cron, zone, from, expected) => {
    expect(next(cron, zone, from, expected.length)).toEqual(expected);
    expect(nextRun(cron, zone, new Date(from))!.toISOString()).toBe(new Date(expected[0]!).toISOString());
  });

  test.each([
    ['every hour', '0 * * * *'],
    ['every ten minutes', '*/10 * * * *'],
  ])('%s goes on through the hour that comes twice and the one that does not come', (_, cron) => {
    for (const [zone, from] of [
      ['America/New_York', '2026-11-01T03:00:00Z'],
      ['Europe/Berlin', '2026-10-24T22:00:00Z'],
      ['America/New_York', '2026-03-08T04:00:00Z'],
    ] as const) {
      const times = next(cron, zone, from, 30).map(Date.parse);
      expect(new Set(times).size).toBe(30);
      expect(times).toEqual([...times].sort((a, b) => a - b));
    }
  });

  test('a known pattern gives the same in another zone as for the first time', () => {
    expect(next('0 6 * * *', 'UTC', '2026-01-01T00:00:00Z', 1)).toEqual(['2026-01-01T06:00:00Z']);
    expect(next('0 6 * * *', 'America/New_York', '2026-01-01T00:00:00Z', 1)).toEqual(['2026-01-01T11:00:00Z']);
    expect(next('0 6 * * *', 'UTC', '2026-01-01T00:00:00Z', 1)).toEqual(['2026-01-01T06:00:00Z']);
  });
});

describe('what is refused', () => {
  const refusal = (cron: string, zone: string) => {
    try {
      return firstRun(cron, zone, new Date('2026-01-01T00:00:00Z')).toISOString();
    } catch (error) {
      return error;
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
  ])('the pattern %j', (cron) => {
    expect(refusal(cron, 'UTC')).toMatchObject({
      code: 'invalid-cron',
      status: 422,
      errors: [{ pointer: '#/cron_expression' }],
    });
    expect((refusal(cron, 'UTC') as Error).message).toContain(JSON.stringify(cron));
  });
  test.each(['', 'Mars/Olympus', '+02:00', '-05', 'Europe/Berlin ', 'UTC+1', '/etc/localtime', '\0'])(
    'the zone %j',
    (zone) => {
      expect(refusal('* * * * *', zone)).toMatchObject({
        code: 'invalid-timezone',
        errors: [{ pointer: '#/timezone' }],
      });
    },
  );
  test.each(['0 0 30 2 *', '0 0 31 4 *', '0 0 31 2,4,6,9,11 *'])('%j, which never comes', (cron) => {
    expect(refusal(cron, 'UTC')).toMatchObject({ code: 'schedule-never-fires' });
  });
});
