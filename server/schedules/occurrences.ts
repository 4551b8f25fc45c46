import { patternOf } from './cron.ts';
import { jitterMs } from './jitter.ts';
import type { ScheduleRow } from './store/schedules.ts';
import { dueBetween, previousDue, type When } from './when.ts';
import { stretchAt } from './zone.ts';

type Schedule = Pick<ScheduleRow, 'schedule_id' | 'jitter_seconds' | 'max_runs' | 'total_runs'> & When;

const FAR = new Date(8.64e15);

/** How many runs a schedule may still make. */
const left = ({ max_runs, total_runs }: Schedule): number =>
  max_runs === null ? Infinity : Math.max(0, max_runs - total_runs);

/** The due times after an instant and up to another, at most so many, and no more than the schedule has runs left. */
export const comingDue = (it: Schedule, after: Date, count: number, to = FAR): Date[] =>
  dueBetween(it, after, to, Math.min(count, left(it)));

/** The same, as on the wire. */
export const comingTimes = (it: Schedule, after: Date, count: number): string[] =>
  comingDue(it, after, count).map((at) => at.toISOString());

/** The due times before an instant, the last first. */
export function pastDue(it: Schedule, before: Date, count: number): Date[] {
  const times: Date[] = [];
  for (let due = previousDue(it, before); due && times.length < count; due = previousDue(it, due)) times.push(due);
  return times;
}

/** A due time as clocks in the schedule's zone show it, and a note where they are set about then. */
export const showOccurrence = (it: Schedule, due: Date) => ({
  scheduled_at: due.toISOString(),
  fire_at: new Date(due.getTime() + jitterMs(it.schedule_id, due, it.jitter_seconds)).toISOString(),
  local: localTime(it.timezone, due),
  note: noteOf(it, due.getTime()),
});

/** RFC 3339 with the zone's own distance from UTC, to the second. */
export function localTime(timezone: string, at: Date): string {
  const { offset } = stretchAt(timezone, at.getTime());
  const minutes = Math.abs(Math.round(offset / 60_000));
  const two = (n: number) => String(n).padStart(2, '0');
  return `${wallText(at.getTime() + offset)}${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

const wallText = (wall: number) => new Date(wall).toISOString().slice(0, 19);
const hours = (wall: number) => wallText(wall).slice(11, 16);

/** What the clocks do to a due time of a pattern. Intervals and single times are instants, which clocks do nothing to. */
function noteOf({ cron_expression, timezone }: Schedule, due: number): string | null {
  if (cron_expression === null) return null;
  const { start, end, offset, fresh } = stretchAt(timezone, due);
  const wall = due + offset;
  if (wall < fresh) return `${hours(wall)} comes twice, as clocks are set back: this is the second`;
  if (wall >= end + stretchAt(timezone, end).offset)
    return `${hours(wall)} comes twice, as clocks are set back: this is the first`;
  const { next } = patternOf(cron_expression);
  if (next(wall - 1) === wall) return null;
  const wanted = next(start - 1 + stretchAt(timezone, start - 1).offset);
  return wanted === null ? null : `${hours(wanted)} does not come, as clocks are set forward: moved to ${hours(wall)}`;
}
