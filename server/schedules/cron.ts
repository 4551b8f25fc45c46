import { CronDate, CronPattern } from 'croner';
import { DAY } from './zone.ts';

/** A cron pattern over wall time, which is what clocks show, in milliseconds as if it were UTC: it knows no zones. */
export interface Pattern {
  /** It names one time of day, neither a list nor a range nor steps: such a pattern is not to miss its day where clocks change. */
  fixed: boolean;
  /** The first match after a wall time, or the last before it; null where there is none. */
  next(wall: number): number | null;
  previous(wall: number): number | null;
  /** How many matches there are from a wall time up to another, the latter not included: looks at each day between, not further. */
  count(from: number, to: number): number;
  /** How close two matches come, in seconds; no less than it, should they be far apart. */
  leastApart(): number;
}

/** Patterns that are kept parsed, some kB each: parsing costs ten times what the next match does. */
const KEPT = 5_000;
const patterns = new Map<string, Pattern>();
/** Croner keeps 10,000 flags per pattern for a field that ours have not. */
const ANY_YEAR: number[] = Array(10_000).fill(1);

/** Parses a cron expression of five or six parts, or a nickname such as `@daily`; throws croner's TypeError or RangeError where it is none. */
export function patternOf(expression: string): Pattern {
  let pattern = patterns.get(expression);
  if (!pattern) {
    pattern = createPattern(expression);
    if (patterns.size >= KEPT) patterns.delete(patterns.keys().next().value!);
    patterns.set(expression, pattern);
  }
  return pattern;
}

function createPattern(expression: string): Pattern {
  const cron = parse(expression);
  /** The same at midnight of its dates. */
  const dates: CronPattern = Object.assign(Object.create(cron), { hour: [1], minute: [1], second: [1] });
  const [hours, minutes, seconds] = [cron.hour, cron.minute, cron.second].map(sumsOf) as [number[], number[], number[]];
  /** How many of the times of a day are before a moment of it, in milliseconds. */
  const before = (moment: number) => {
    const second = Math.ceil(Math.max(0, Math.min(moment, DAY)) / 1_000);
    const [h, m, s] = [Math.floor(second / 3_600), Math.floor(second / 60) % 60, second % 60];
    const inMinute = cron.minute[m] ? seconds[s]! : 0;
    const inHour = cron.hour[h] ? minutes[m]! * seconds[60]! + inMinute : 0;
    return hours[h]! * minutes[60]! * seconds[60]! + inHour;
  };
  return {
    fixed: cron.isFixedTime,
    next: (wall) => next(cron, wall),
    previous: (wall) => dateAt(wall).decrement(cron, {})?.getTime() ?? null,
    count(from, to) {
      let count = 0;
      for (let date = Math.floor(from / DAY) * DAY; date < to; date += DAY)
        if (dateAt(date).match(dates, {})) count += before(to - date) - before(from - date);
      return count;
    },
    leastApart() {
      const times = timesOfDay(cron);
      const within = times.slice(1).reduce((least, time, n) => Math.min(least, time - times[n]!), DAY / 1_000);
      const overnight = DAY / 1_000 - times.at(-1)! + times[0]!;
      return overnight < within && onDaysRunning(dates) ? overnight : within;
    },
  };
}

const next = (of: CronPattern, wall: number): number | null => dateAt(wall).increment(of, {}, false)?.getTime() ?? null;

/** The times of day a pattern names, in seconds since midnight, ascending. */
function timesOfDay({ hour, minute, second }: CronPattern): number[] {
  const [hours, minutes, seconds] = [hour, minute, second].map((flags) =>
    flags.flatMap((flag, n) => (flag ? [n] : [])),
  );
  return hours!.flatMap((h) => minutes!.flatMap((m) => seconds!.map((s) => h * 3_600 + m * 60 + s)));
}

/** Whether a pattern has matches on two days running; looks at its first few hundred. */
function onDaysRunning(dates: CronPattern): boolean {
  let date = next(dates, 0);
  for (let n = 0; n < 500 && date !== null; n += 1) {
    const following = next(dates, date);
    if (following === date + DAY) return true;
    date = following;
  }
  return false;
}

const parse = (expression: string): CronPattern =>
  Object.assign(new CronPattern(expression, undefined, { mode: '5-or-6-parts' }), { year: ANY_YEAR });

/** With a distance from UTC for its zone, which is none, croner asks no calendar but its own. */
const dateAt = (wall: number) => new CronDate(new Date(wall), 0);

/** For each place in a list of flags, how many are set before it. */
function sumsOf(flags: number[]): number[] {
  const sums = [0];
  for (const flag of flags) sums.push(sums.at(-1)! + (flag ? 1 : 0));
  return sums;
}
