import type { Dst, Exclusion } from '@muster/shared/contract/schedule-rule';
import { patternOf } from './cron.ts';
import { type Due, inZone } from './cron-in-zone.ts';
import { isExcluded, nearestLeft } from './exclude.ts';
import { DAY, stretchAt } from './zone.ts';

/**
 * When a schedule is due: by exactly one of `cron_expression`, `interval_seconds` (at the epoch plus `phase_seconds` plus any number of intervals) and `at`;
 * not before `starts_at`, not after `ends_at`, not on a date of `exclude`, which like the pattern is judged by the clocks of `timezone`.
 */
export interface When {
  cron_expression: string | null;
  interval_seconds: number | null;
  phase_seconds: number;
  at: Date | null;
  timezone: string;
  starts_at: Date | null;
  ends_at: Date | null;
  exclude: Exclusion[];
  dst: Dst;
}

/** So long after the last due time, in milliseconds, one that is not left out is looked for: 29 February is a given weekday at least every 40 years. */
const HORIZON = 50 * 366 * DAY;

/** No due time is later: with its jitter it must still have a year of four digits. */
export const LATEST = Date.UTC(9999, 11, 30);

/** The first due time after an instant; null where there is none. */
export function nextDue(when: When, after: Date): Date | null {
  let from = Math.max(after.getTime(), (when.starts_at?.getTime() ?? -Infinity) - 1);
  const until = Math.min(when.ends_at?.getTime() ?? LATEST, when.at ? LATEST : from + HORIZON, LATEST);
  const next = ruleOf(when).next;
  for (let due = next(from); due !== null && due <= until; due = next(from)) {
    const day = dayAt(when.timezone, due);
    if (!isExcluded(when.exclude, day.wall)) return new Date(due);
    // A day early, should clocks be set on the way.
    from = Math.max(day.end - 1, due + nearestLeft(when.exclude, day.wall, 1, HORIZON) - day.wall - DAY - 1);
  }
  return null;
}

/** The last due time before an instant; null where there is none. */
export function previousDue(when: When, before: Date): Date | null {
  let to = Math.min(before.getTime(), (when.ends_at?.getTime() ?? Infinity) + 1);
  const since = Math.max(when.starts_at?.getTime() ?? 0, to - HORIZON);
  const { previous } = ruleOf(when);
  for (let due = previous(to); due !== null && due >= since; due = previous(to)) {
    const day = dayAt(when.timezone, due);
    if (!isExcluded(when.exclude, day.wall)) return new Date(due);
    to = Math.min(day.start, due + nearestLeft(when.exclude, day.wall, -1, HORIZON) - day.wall + 2 * DAY);
  }
  return null;
}

/** The due times after `from`, up to and with `to`, at most the first `limit`. */
export function dueBetween(when: When, from: Date, to: Date, limit: number): Date[] {
  const times: Date[] = [];
  for (let due = nextDue(when, from); due && due <= to && times.length < limit; due = nextDue(when, due))
    times.push(due);
  return times;
}

/** How many due times there are after `from`, up to and with `to`: by arithmetic, a day at most at a time, not one by one. */
export function countDue(when: When, from: Date, to: Date): number {
  const begin = Math.max(from.getTime() + 1, when.starts_at?.getTime() ?? -Infinity);
  const end = Math.min(to.getTime(), when.ends_at?.getTime() ?? Infinity) + 1;
  const { count } = ruleOf(when);
  if (when.exclude.length === 0) return begin < end ? count(begin, end) : 0;
  let sum = 0;
  for (let at = begin; at < end; ) {
    const day = dayAt(when.timezone, at);
    if (!isExcluded(when.exclude, day.wall)) sum += count(at, Math.min(day.end, end));
    at = day.end;
  }
  return sum;
}

/** The local date an instant is in: its wall time, and from when until when the date lasts; clocks that are set end it too. */
function dayAt(timezone: string, instant: number): { wall: number; start: number; end: number } {
  const stretch = stretchAt(timezone, instant);
  const wall = instant + stretch.offset;
  const midnight = Math.floor(wall / DAY) * DAY - stretch.offset;
  return { wall, start: Math.max(midnight, stretch.start), end: Math.min(midnight + DAY, stretch.end) };
}

function ruleOf({ at, interval_seconds, phase_seconds, cron_expression, timezone, dst }: When): Due {
  if (at) return onceAt(at.getTime());
  if (interval_seconds !== null) return every(interval_seconds * 1_000, phase_seconds * 1_000);
  if (cron_expression === null) throw new Error('a schedule without a rule of when');
  return inZone(patternOf(cron_expression), timezone, dst);
}

const onceAt = (at: number): Due => ({
  next: (after) => (after < at ? at : null),
  previous: (before) => (before > at ? at : null),
  count: (from, to) => (from <= at && at < to ? 1 : 0),
});

function every(interval: number, phase: number): Due {
  /** How many intervals have begun before an instant. */
  const begun = (instant: number) => Math.ceil((instant - phase) / interval);
  return {
    next: (after) => phase + (Math.floor((after - phase) / interval) + 1) * interval,
    previous: (before) => phase + (begun(before) - 1) * interval,
    count: (from, to) => begun(to) - begun(from),
  };
}
