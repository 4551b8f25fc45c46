import type { Misfire } from '@muster/shared/contract/schedule-rule';
import { type Gap, gapFrom } from './gap.ts';
import { jitterMs } from './jitter.ts';
import { nextDue, previousDue, type When } from './when.ts';

/** By so much, in milliseconds, a due time may have passed and still be on time. */
const ON_TIME_MS = 5_000;

/** What a schedule says of due times nobody was there for. */
export interface Patience extends When {
  schedule_id: string;
  next_run_at: Date;
  jitter_seconds: number;
  catch_up_seconds: number;
  misfire: Misfire;
}

/** What becomes of the due times up to now. */
export interface Judged {
  /** Those that are to fire, in order. */
  due: Date[];
  /** Those that are not, and why: `too-late`, `late` or `coalesced`. */
  missed: (Gap & { reason: string })[];
  /** The due time to go on from; null where there is none. */
  following: Date | null;
}

/**
 * Judges the due times of a schedule from `next_run_at` up to `now`. What is on time fires. What is later fires as the misfire policy says, the newest
 * first to be kept; what is older than `catch_up_seconds` is missed. Jitter is allowed for: lateness counts from the latest a time may fire at.
 * At most `limit` are to fire; the others are left to the next time.
 */
export function judge(it: Patience, now: Date, limit: number): Judged {
  const before = (ms: number) => new Date(now.getTime() - it.jitter_seconds * 1_000 - ms);
  const missed: Judged['missed'] = [];
  /** Passes by the due times from `from` that are before `to`. Answers the one after. */
  const pass = (from: Date | null, to: Date, reason: string): Date | null => {
    const gap = from && gapFrom(it, from, justBefore(to));
    if (!gap) return from;
    missed.push({ ...gap, reason });
    return nextDue(it, justBefore(to));
  };
  let cursor = pass(it.next_run_at, before(Math.max(it.catch_up_seconds * 1_000, ON_TIME_MS)), 'too-late');
  const late = before(ON_TIME_MS);
  const kept = newest(it, cursor, late);
  if (kept) cursor = pass(cursor, kept[0] ?? late, it.misfire.policy === 'SKIP' ? 'late' : 'coalesced');
  const due: Date[] = [];
  while (cursor && due.length < limit && fireAt(it, cursor) <= now.getTime()) {
    due.push(cursor);
    cursor = nextDue(it, cursor);
  }
  return { due, missed, following: cursor };
}

/** Of the due times from `from` that are before `to`, the newest that the misfire policy makes up for; undefined where it makes up for all. */
function newest(it: Patience, from: Date | null, to: Date): Date[] | undefined {
  const { policy, max } = it.misfire;
  const wanted = policy === 'SKIP' ? 0 : policy === 'FIRE_ONCE' ? 1 : max;
  if (wanted === undefined) return undefined;
  const times: Date[] = [];
  for (let due = previousDue(it, to); due && from && due >= from && times.length < wanted; due = previousDue(it, due))
    times.unshift(due);
  return times;
}

const justBefore = (at: Date) => new Date(at.getTime() - 1);

/** When a due time fires, in milliseconds. */
const fireAt = ({ schedule_id, jitter_seconds }: Patience, due: Date) =>
  due.getTime() + jitterMs(schedule_id, due, jitter_seconds);
