import type { Dst } from '@muster/shared/contract/schedule-rule';
import { type Random, randomOf, seedOf } from '@muster/testing/random';
import { describe, expect, test } from 'vitest';
import { countDue, nextDue, previousDue, type When } from './when.ts';

// What `when.ts` says, against what an oracle finds minute by minute on a table of what the clocks of a zone show, by Intl. The oracle knows patterns by how they were made, never by
// their text, and has neither croner nor any arithmetic of zones.

const MINUTE = 60_000;
const DAY = 1_440 * MINUTE;

/** A local date, as numbers; `weekday` 0 is Sunday. */
interface LocalDate {
  month: number;
  day: number;
  weekday: number;
  /** The last day of its month, and which day of the week that is. */
  last: number;
  lastWeekday: number;
}

/** A pattern with what it means. */
interface Made {
  text: string;
  seconds: number[];
  minutes: Set<number>;
  hours: Set<number>;
  /** Whether it has no star and no step in its time of day. */
  plain: boolean;
  on(date: LocalDate): boolean;
}

interface Field {
  text: string;
  values: Set<number>;
}

const range = (from: number, to: number, step = 1) =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, n) => from + n * step);

function field(random: Random, from: number, to: number, kinds: readonly string[]): Field {
  const of = (text: string, values: number[]): Field => ({ text, values: new Set(values) });
  const one = random.between(from, to);
  switch (random.pick(kinds)) {
    case 'any':
      return of(random.pick(['*', '*', '?']), range(from, to));
    case 'one':
      return of(String(one), [one]);
    case 'list': {
      const values = [...new Set([one, random.between(from, to), random.between(from, to)])];
      return of(values.join(), values);
    }
    case 'range': {
      const end = random.between(one, to);
      return of(`${one}-${end}`, range(one, end));
    }
    case 'steps': {
      const step = random.between(2, Math.ceil((to - from + 1) / 2));
      return of(`*/${step}`, range(from, to, step));
    }
    default: {
      const end = random.between(one, to);
      const step = random.between(1, 7);
      return of(`${one}-${end}/${step}`, range(one, end, step));
    }
  }
}

type OnDate = (date: LocalDate) => boolean;

/** The weekday of a day in a date's month. */
const weekdayOf = (date: LocalDate, day: number) => (((date.weekday + day - date.day) % 7) + 7) % 7;
const isWorkday = (date: LocalDate, day: number) => ![0, 6].includes(weekdayOf(date, day));

/** The workday of a month nearest to a day of it; none where it has no such day. */
function nearestWorkday(date: LocalDate, day: number): number | undefined {
  if (day > date.last) return undefined;
  return [day, day - 1, day + 1, day - 2, day + 2].find((it) => it >= 1 && it <= date.last && isWorkday(date, it));
}

function daysOfMonth(random: Random): { text: string; on: OnDate | undefined } {
  const day = random.between(1, 31);
  switch (random.pick(['any', 'any', 'any', 'any', 'field', 'field', 'L', 'LW', 'W', 'lists'])) {
    case 'any':
      return { text: '*', on: undefined };
    case 'L':
      return { text: 'L', on: (date) => date.day === date.last };
    case 'LW':
      return {
        text: 'LW',
        on: (date) => date.day === range(date.last - 2, date.last).findLast((it) => isWorkday(date, it)),
      };
    case 'W':
      return { text: `${day}W`, on: (date) => date.day === nearestWorkday(date, day) };
    case 'lists':
      return { text: `${day},L`, on: (date) => date.day === day || date.day === date.last };
    default: {
      const { text, values } = field(random, 1, 31, ['one', 'list', 'range', 'steps', 'both']);
      return { text, on: ({ day }) => values.has(day) };
    }
  }
}

const NAMES = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];

function daysOfWeek(random: Random): { text: string; on: OnDate | undefined } {
  const weekday = random.between(0, 6);
  const name = random.pick([String(weekday), NAMES[weekday]!, ...(weekday === 0 ? ['7'] : [])]);
  const nth = random.between(1, 5);
  switch (random.pick(['any', 'any', 'any', 'one', 'range', 'nth', 'last'])) {
    case 'any':
      return { text: random.pick(['*', '?']), on: undefined };
    case 'one':
      return { text: name, on: (date) => date.weekday === weekday };
    case 'range': {
      // Sunday to Sunday is the whole week to croner.
      const end = random.between(Math.max(weekday, 1), 6);
      return { text: `${NAMES[weekday]}-${NAMES[end]}`, on: (date) => weekday <= date.weekday && date.weekday <= end };
    }
    case 'nth':
      return { text: `${name}#${nth}`, on: (date) => date.weekday === weekday && Math.ceil(date.day / 7) === nth };
    default:
      return { text: `${name}L`, on: (date) => date.weekday === weekday && date.day > date.last - 7 };
  }
}

/** A pattern of which a good part is due where clocks change: before and after midnight, on most days. */
function makePattern(random: Random): Made {
  const wild = ['any', 'one', 'list', 'range', 'steps', 'both'];
  const seconds =
    random.below(4) > 0 ? { text: '', values: new Set([0]) } : field(random, 0, 59, ['one', 'one', 'list']);
  const minutes = field(random, 0, 59, random.pick([['one'], wild]));
  const [from, to] = random.pick([[0, 3] as const, [0, 3] as const, [22, 23] as const, [0, 23] as const]);
  const hours = field(random, from, to, random.pick([['one'], wild.slice(1)]));
  const hourly = random.below(6) === 0 ? field(random, 0, 23, ['any', 'steps']) : { ...hours, text: hours.text };
  const months = random.below(3) > 0 ? { text: '*', values: new Set(range(1, 12)) } : field(random, 1, 12, wild);
  const days = daysOfMonth(random);
  const weekdays = daysOfWeek(random);
  const and = weekdays.on && days.on && random.below(2) === 0;
  const times = [seconds.text, minutes.text, hourly.text];
  // Steps of hours are of all 24 in a pattern, whatever they were made of.
  const hoursMeant = hourly.text.startsWith('*/') ? range(0, 23, Number(hourly.text.slice(2))) : [...hourly.values];
  return {
    text: [...times, days.text, months.text, (and ? '+' : '') + weekdays.text].join(' ').trim(),
    seconds: [...seconds.values].sort((a, b) => a - b),
    minutes: minutes.values,
    hours: new Set(/^[*?]$/.test(hourly.text) ? range(0, 23) : hoursMeant),
    plain: !times.some((text) => /[*?/]/.test(text)),
    on(date) {
      if (!months.values.has(date.month)) return false;
      if (!days.on || !weekdays.on) return (days.on ?? weekdays.on ?? (() => true))(date);
      return and ? days.on(date) && weekdays.on(date) : days.on(date) || weekdays.on(date);
    },
  };
}

/** What the clocks of a zone show, minute by minute. */
interface Table {
  zone: string;
  start: number;
  /** Minutes of local time since 1970, by minutes since `start`. */
  local: Int32Array;
  /** The instant clocks change. */
  change: number;
}

function tabulate(zone: string, start: number, minutes: number): Table {
  const clock = clockOf(zone);
  const local = Int32Array.from({ length: minutes }, (_, n) => localMinute(clock, start + n * MINUTE));
  const change = local.findIndex((minute, n) => n > 0 && minute !== local[n - 1]! + 1);
  return { zone, start, local, change: start + Math.max(0, change) * MINUTE };
}

const clockOf = (timeZone: string) =>
  new Intl.DateTimeFormat('en-US', { timeZone, dateStyle: 'short', timeStyle: 'short', hourCycle: 'h23' });

function localMinute(clock: Intl.DateTimeFormat, instant: number): number {
  const [month, day, year, hour, minute] = clock.format(instant).match(/\d+/g)!.map(Number) as number[];
  return Date.UTC(2_000 + year!, month! - 1, day, hour, minute) / MINUTE;
}

/** Two days around each change of a zone's clocks from 2025 through 2030. */
function changesOf(zone: string): Table[] {
  const clock = clockOf(zone);
  const ahead = (noon: number) => localMinute(clock, noon) - noon / MINUTE;
  const noons = range(Date.UTC(2025, 0, 1, 12), Date.UTC(2030, 11, 30, 12), DAY);
  return noons
    .filter((noon) => ahead(noon) !== ahead(noon + DAY))
    .map((noon) => tabulate(zone, noon - DAY / 2, (2 * DAY) / MINUTE));
}

const dates = new Map<number, LocalDate>();
/** The local date of a number of days since 1970. */
function dateOf(day: number): LocalDate {
  let date = dates.get(day);
  if (!date) {
    const at = new Date(day * DAY);
    const last = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 0));
    date = {
      month: at.getUTCMonth() + 1,
      day: at.getUTCDate(),
      weekday: at.getUTCDay(),
      last: last.getUTCDate(),
      lastWeekday: last.getUTCDay(),
    };
    dates.set(day, date);
  }
  return date;
}

/** All due times of a pattern on a table, in order. */
function oracle({ start, local }: Table, pattern: Made, dst: Dst): number[] {
  const fixed = pattern.plain && pattern.seconds.length + pattern.minutes.size + pattern.hours.size === 3;
  const vixie = dst === 'vixie';
  const makeUp = vixie ? fixed : dst.gap === 'run_after';
  const once = vixie ? fixed : dst.repeat === 'first';
  let [today, dated] = [Number.NaN, false];
  const matches = (minute: number) => {
    const day = Math.floor(minute / 1_440);
    if (day !== today) [today, dated] = [day, pattern.on(dateOf(day))];
    return dated && pattern.hours.has(Math.floor(minute / 60) % 24) && pattern.minutes.has(minute % 60);
  };
  const due = new Set<number>();
  let shown = local[0]! - 1;
  for (let n = 0; n < local.length; n += 1) {
    const minute = local[n]!;
    const instant = start + n * MINUTE;
    if (makeUp && n > 0)
      for (let gone = local[n - 1]! + 1; gone < minute; gone += 1)
        if (matches(gone) && (!vixie || Math.floor(gone / 1_440) === Math.floor(minute / 1_440))) due.add(instant);
    if (matches(minute) && !(once && minute <= shown))
      for (const second of pattern.seconds) due.add(instant + second * 1_000);
    shown = Math.max(shown, minute);
  }
  return [...due].sort((a, b) => a - b);
}

const whenOf = (cron_expression: string, timezone: string, dst: Dst): When => ({
  cron_expression,
  interval_seconds: null,
  phase_seconds: 0,
  at: null,
  timezone,
  starts_at: null,
  ends_at: null,
  exclude: [],
  dst,
});

const shown = (times: (number | undefined)[]) => times.map((it) => it && new Date(it).toISOString());

/** Everything `when.ts` says of a table: how many, and one after another, forward and back; of many, those around the change. */
function compare(table: Table, pattern: Made, dst: Dst, most: number): void {
  const expected = oracle(table, pattern, dst);
  const [from, end] = [table.start - 1, table.start + table.local.length * MINUTE];
  const when = whenOf(pattern.text, table.zone, dst);
  const about = `${JSON.stringify(pattern.text)} in ${table.zone}, ${JSON.stringify(dst)}, from ${new Date(table.start).toISOString()}`;
  const counted = countDue(when, new Date(from), new Date(end - 1));
  if (counted !== expected.length) expect.fail(`${about}: ${counted} times instead of ${expected.length}`);
  const middle = expected.findIndex((it) => it >= table.change);
  const first = expected.length <= most ? 0 : Math.max(0, middle - most / 2);
  const some = expected.slice(first, first + most);
  const found: number[] = [];
  for (let at = first === 0 ? from : expected[first - 1]!; found.length < some.length; at = found.at(-1)!) {
    const next = nextDue(when, new Date(at))?.getTime();
    if (next === undefined) break;
    found.push(next);
  }
  if (String(found) !== String(some)) expect(shown(found), about).toEqual(shown(some));
  const back: number[] = [];
  for (let at = expected[first + most] ?? end; back.length < some.length; at = back.at(-1)!) {
    const previous = previousDue(when, new Date(at))?.getTime();
    if (previous === undefined) break;
    back.push(previous);
  }
  if (String(back) !== String(some.toReversed()))
    expect(shown(back), `back, ${about}`).toEqual(shown(some.toReversed()));
}

const FORMS: Dst[] = [
  'vixie',
  ...(['run_after', 'skip'] as const).flatMap((gap) => (['first', 'both'] as const).map((repeat) => ({ gap, repeat }))),
];
// Clocks change by half an hour on Lord Howe, at 23:00 in Nuuk and at midnight in Santiago and Havana, on a quarter in Chatham, and for a month in Morocco.
const ZONES = [
  'America/New_York',
  'Europe/Berlin',
  'Australia/Lord_Howe',
  'America/Nuuk',
  'America/Santiago',
  'America/Havana',
  'Pacific/Chatham',
  'Africa/Casablanca',
];
const SEED = seedOf('WHEN_SEED');
const PATTERNS = 1_000;

const days = (from: string, count: number) => [Date.parse(`${from}T00:00:00Z`), (count * DAY) / MINUTE] as const;
const PLACES: [what: string, zone: string, start: number, minutes: number][] = [
  ['New York springs forward', 'America/New_York', ...days('2026-03-07', 3)],
  ['New York falls back', 'America/New_York', ...days('2026-10-31', 3)],
  ['Berlin springs forward', 'Europe/Berlin', ...days('2026-03-28', 3)],
  ['Berlin falls back', 'Europe/Berlin', ...days('2026-10-24', 3)],
  ['Lord Howe springs forward by half an hour', 'Australia/Lord_Howe', ...days('2026-10-03', 3)],
  ['Lord Howe falls back by half an hour', 'Australia/Lord_Howe', ...days('2026-04-04', 3)],
  ['Apia leaves a day out', 'Pacific/Apia', ...days('2011-12-28', 4)],
  ['Kathmandu is three quarters off the hour', 'Asia/Kathmandu', ...days('2026-06-01', 2)],
  ['Sao Paulo springs forward at midnight', 'America/Sao_Paulo', ...days('2018-11-03', 3)],
  ['Sao Paulo falls back at midnight', 'America/Sao_Paulo', ...days('2018-02-17', 3)],
  ['Sao Paulo has no summer time any more', 'America/Sao_Paulo', ...days('2026-11-01', 2)],
  ['a leap day', 'UTC', ...days('2028-02-28', 3)],
  ['no leap day where it might be', 'Europe/Berlin', ...days('2027-02-27', 3)],
];

describe(`when a schedule is due, against the clocks of its zone minute by minute (WHEN_SEED=${SEED})`, () => {
  test.each(ZONES)(`${PATTERNS} patterns at each change of the clocks 2025-2030: %s`, (zone) => {
    const random = randomOf(SEED);
    const tables = changesOf(zone);
    expect(tables.length).toBeGreaterThanOrEqual(12);
    let due = 0;
    for (let n = 0; n < PATTERNS; n += 1) {
      const pattern = makePattern(random);
      for (const [at, table] of tables.entries()) compare(table, pattern, n % 2 ? FORMS[(n + at) % 5]! : 'vixie', 8);
      due += oracle(tables[n % tables.length]!, pattern, 'vixie').length;
    }
    // The patterns are not of the kind that is never due.
    expect(due).toBeGreaterThan(PATTERNS);
  });

  test.each(PLACES)('200 patterns under each rule: %s', (_, ...place) => {
    const random = randomOf(SEED);
    const table = tabulate(...place);
    for (let n = 0; n < 200; n += 1) {
      const pattern = makePattern(random);
      for (const form of FORMS) compare(table, pattern, form, 24);
    }
  });
});
