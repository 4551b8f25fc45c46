import { countDue, previousDue, type When } from './when.ts';

/** Due times in a row that did not fire: `count` of them, the last one `until`, which is null where there is but one. */
export interface Gap {
  scheduled_at: Date;
  until: Date | null;
  count: number;
}

/** The due times from one of them on, up to and with an instant; null where that one is later. However many: it takes no longer. */
export function gapFrom(when: When, first: Date, to: Date): Gap | null {
  if (first > to) return null;
  const count = 1 + countDue(when, first, to);
  return { scheduled_at: first, until: count > 1 ? previousDue(when, new Date(to.getTime() + 1)) : null, count };
}
