import type { Exclusion } from '@muster/shared/contract/schedule-rule';
import { DAY } from './zone.ts';

const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'] as const;

/** What leaves dates out, in a form that is quick to ask; dates as text, ranges in days since 1970. */
interface Left {
  weekdays: Set<string>;
  annual: Set<string>;
  dates: Set<string>;
  ranges: [from: number, to: number][];
}
const known = new WeakMap<readonly Exclusion[], Left>();

/** Whether the date of a wall time is left out; a wall time is in milliseconds, as if it were UTC. */
export const isExcluded = (exclude: readonly Exclusion[], wall: number): boolean =>
  exclude.length > 0 && outUntil(leftOf(exclude), Math.floor(wall / DAY), 1) !== null;

/** Midnight of the next date after a wall time, or the last before it, that is not left out; looks no further than so many milliseconds. */
export function nearestLeft(exclude: readonly Exclusion[], wall: number, way: 1 | -1, reach: number): number {
  const left = leftOf(exclude);
  const first = Math.floor(wall / DAY);
  let date = first;
  for (let out = outUntil(left, date, way); out !== null && Math.abs(date - first) * DAY < reach; ) {
    date = out + way;
    out = outUntil(left, date, way);
  }
  return date * DAY;
}

/** A date that is left out, or the end of the range that leaves it out; null where nothing does. Dates in days since 1970. */
function outUntil({ weekdays, annual, dates, ranges }: Left, date: number, way: 1 | -1): number | null {
  if (weekdays.size > 0 && weekdays.has(WEEKDAYS[(((date + 4) % 7) + 7) % 7]!)) return date;
  if (annual.size + dates.size > 0) {
    const text = new Date(date * DAY).toISOString().slice(0, 10);
    if (dates.has(text) || annual.has(text.slice(5))) return date;
  }
  const range = ranges.find(([from, to]) => from <= date && date <= to);
  return range ? range[way === 1 ? 1 : 0] : null;
}

function leftOf(exclude: readonly Exclusion[]): Left {
  let left = known.get(exclude);
  if (!left) {
    left = { weekdays: new Set(), annual: new Set(), dates: new Set(), ranges: [] };
    for (const it of exclude) {
      if ('date' in it) left.dates.add(it.date);
      else if ('from' in it) left.ranges.push([Date.parse(it.from) / DAY, Date.parse(it.to) / DAY]);
      else if ('weekdays' in it) for (const day of it.weekdays) left.weekdays.add(day);
      else left.annual.add(it.annual);
    }
    known.set(exclude, left);
  }
  return left;
}
