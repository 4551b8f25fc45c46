import type { Dst } from '@muster/shared/contract/schedule-rule';
import type { Pattern } from './cron.ts';
import { DAY, type Stretch, stretchAt } from './zone.ts';

/** Due times by the rule alone, in milliseconds: the first after, the last before, how many from up to below. */
export interface Due {
  next(after: number): number | null;
  previous(before: number): number | null;
  count(from: number, to: number): number;
}

/**
 * The instants a pattern of wall time names in a zone. In the gap where clocks are set forward its times are not there: they are skipped, or made up for once,
 * at its end (`run_after`). Where clocks are set back times come again: `both` count, or the `first`. `vixie` is croner's rule: a pattern that names one time of
 * day is made up for on the same day and comes once; any other is skipped and comes twice.
 * Walks from stretch to stretch, in each of which wall time is an addition away.
 */
export function inZone(pattern: Pattern, timezone: string, dst: Dst): Due {
  const rule = ruleOf(dst, pattern);
  const after = (stretch: Stretch) => stretchAt(timezone, stretch.end);
  const before = (stretch: Stretch) => stretchAt(timezone, stretch.start - 1);
  /** The wall time from which on a stretch counts. */
  const first = (stretch: Stretch) => (rule.repeat === 'first' ? stretch.fresh : stretch.start + stretch.offset);
  /** Whether a time that was not there is made up for where a stretch begins. */
  const makesUp = (stretch: Stretch) => {
    if (rule.gap === 'skip') return false;
    const ended = before(stretch);
    const back = stretch.start + stretch.offset;
    const gone = Math.max(ended.end + ended.offset, rule.sameDay ? Math.floor(back / DAY) * DAY : -Infinity);
    return gone < back && pattern.count(gone, back) > 0;
  };
  return {
    next(instant) {
      let stretch = stretchAt(timezone, instant);
      let wall = pattern.next(Math.max(instant + stretch.offset, first(stretch) - 1));
      while (wall !== null && wall - stretch.offset >= stretch.end) {
        const { offset } = stretch;
        stretch = after(stretch);
        if (stretch.offset === offset) continue;
        if (makesUp(stretch)) return stretch.start;
        wall = pattern.next(first(stretch) - 1);
      }
      return wall === null ? null : wall - stretch.offset;
    },
    previous(instant) {
      let stretch = stretchAt(timezone, instant - 1);
      let wall = pattern.previous(instant + stretch.offset);
      while (wall !== null && wall < first(stretch)) {
        if (makesUp(stretch)) return stretch.start;
        const { offset } = stretch;
        stretch = before(stretch);
        if (stretch.offset !== offset) wall = pattern.previous(stretch.end + stretch.offset);
      }
      return wall === null ? null : wall - stretch.offset;
    },
    count(from, to) {
      let sum = 0;
      for (let at = from; at < to; ) {
        const stretch = stretchAt(timezone, at);
        const begin = Math.max(at + stretch.offset, first(stretch));
        sum += pattern.count(begin, Math.min(stretch.end, to) + stretch.offset);
        // What is made up for where another time is due anyway is the same due time.
        if (at === stretch.start && makesUp(stretch) && pattern.count(begin, begin + 1) === 0) sum += 1;
        at = stretch.end;
      }
      return sum;
    },
  };
}

function ruleOf(dst: Dst, pattern: Pattern): { gap: 'run_after' | 'skip'; repeat: 'first' | 'both'; sameDay: boolean } {
  if (dst !== 'vixie') return { ...dst, sameDay: false };
  return pattern.fixed
    ? { gap: 'run_after', repeat: 'first', sameDay: true }
    : { gap: 'skip', repeat: 'both', sameDay: false };
}
