/** A stretch of time through which a zone's clocks keep one distance from UTC; instants and distances in milliseconds. */
export interface Stretch {
  start: number;
  /** The first instant that is not in it. */
  end: number;
  /** What the clocks on the wall show more than UTC's. */
  offset: number;
  /** The wall time up to which the stretch before has been already, where clocks were set back at `start`; else the wall time at `start`. */
  fresh: number;
}

const SECOND = 1_000;
export const DAY = 86_400 * SECOND;
/** No zone changes its clocks twice within so long, in milliseconds. */
const PROBE = 7 * DAY;

/** Zones that are kept: each is known by some names, and in any case. */
const KEPT = 1_000;
/** Years that are kept of each: more than a rule is looked ahead by. */
const KEPT_YEARS = 200;
const zones = new Map<string, { clock: Intl.DateTimeFormat; years: Map<number, Stretch[]> }>();

/** Whether the name is one of the IANA's: an empty one would silently be the server's, and an offset knows no summer. */
export function isTimezone(timezone: string): boolean {
  try {
    return /^[A-Za-z]/.test(timezone) && zoneOf(timezone) !== undefined;
  } catch {
    return false;
  }
}

/** The stretch an instant is in. They end with the year too, so that a zone without summer has an end to each. */
export function stretchAt(timezone: string, instant: number): Stretch {
  const zone = zoneOf(timezone);
  const year = new Date(instant).getUTCFullYear();
  let stretches = zone.years.get(year);
  if (!stretches) {
    stretches = stretchesOf(zone.clock, year);
    if (zone.years.size >= KEPT_YEARS) zone.years.delete(zone.years.keys().next().value!);
    zone.years.set(year, stretches);
  }
  return stretches.find(({ end }) => instant < end)!;
}

function zoneOf(timezone: string) {
  let zone = zones.get(timezone);
  if (!zone) {
    const clock = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    zone = { clock, years: new Map() };
    if (zones.size >= KEPT) zones.delete(zones.keys().next().value!);
    zones.set(timezone, zone);
  }
  return zone;
}

function stretchesOf(clock: Intl.DateTimeFormat, year: number): Stretch[] {
  const [begin, end] = [Date.UTC(year, 0), Date.UTC(year + 1, 0)];
  const stretches: Stretch[] = [];
  let fresh = -Infinity;
  // From a little before, should clocks be set back in the last hours of the year before.
  for (let start = begin - PROBE; start < end; start = stretches.at(-1)!.end) {
    const offset = offsetAt(clock, start);
    const until = endOf(clock, start, end, offset);
    stretches.push({ start, end: until, offset, fresh: Math.max(fresh, start + offset) });
    fresh = until + offset;
  }
  return stretches.filter((it) => it.end > begin);
}

/** Where the clocks leave an offset, or `end` where they keep it so long. */
function endOf(clock: Intl.DateTimeFormat, start: number, end: number, offset: number): number {
  let same = start;
  let other = start;
  do {
    same = other;
    other = Math.min(same + PROBE, end - SECOND);
  } while (other > same && offsetAt(clock, other) === offset);
  if (other === same) return end;
  while (other - same > SECOND) {
    const middle = same + Math.floor((other - same) / 2 / SECOND) * SECOND;
    if (offsetAt(clock, middle) === offset) same = middle;
    else other = middle;
  }
  return other;
}

/** How much the clocks on the wall are ahead of UTC's at a whole second, in milliseconds. */
function offsetAt(clock: Intl.DateTimeFormat, instant: number): number {
  const at: Record<string, number> = {};
  for (const { type, value } of clock.formatToParts(instant)) at[type] = Number(value);
  return Date.UTC(at.year!, at.month! - 1, at.day!, at.hour, at.minute, at.second) - instant;
}
