import type { Exclusion } from '@muster/shared/contract/schedule-rule';

const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'] as const;

/** Whether the date of a wall time is left out; a wall time is in milliseconds, as if it were UTC. */
export function isExcluded(exclude: readonly Exclusion[], wall: number): boolean {
  if (exclude.length === 0) return false;
  const at = new Date(wall);
  const date = at.toISOString().slice(0, 10);
  return exclude.some((it) => {
    if ('date' in it) return it.date === date;
    if ('from' in it) return it.from <= date && date <= it.to;
    if ('weekdays' in it) return it.weekdays.includes(WEEKDAYS[at.getUTCDay()]!);
    return it.annual === date.slice(5);
  });
}
