import { ProblemError } from '@muster/shared/errors';

const WINDOW_SECONDS = 60;
/** Names that are counted at once: strangers choose some of them, and must not fill the memory. */
const NAMES = 100_000;

/** What is left of an allowance. */
export interface Allowance {
  limit: number;
  remaining: number;
  /** Until there is a new one, in seconds. */
  reset: number;
}

/** Counts per name in windows of a minute. Each coordinator counts what it sees. */
export interface RateLimit {
  /** Takes one; a `rate-limited` problem where there is none left. */
  take(name: string, limit: number): Allowance;
  /** Takes one, whatever is left. */
  count(name: string): void;
  /** Refuses as `take` does, but takes nothing. */
  refuseSpent(name: string, limit: number): void;
}

interface Window {
  count: number;
  endsAt: number;
}

/** A limit on something: `what` says to the caller what there was too much of. Not a library's, which promise: this is on the path of every request. */
export function createRateLimit(what: string, names = NAMES): RateLimit {
  /** By the time they end: all last equally long, and a map keeps the order in which they began. */
  const windows = new Map<string, Window>();

  const open = (name: string, now: number): Window => {
    windows.delete(name);
    for (const [other, { endsAt }] of windows) {
      if (endsAt > now && windows.size < names) break;
      windows.delete(other);
    }
    const window = { count: 0, endsAt: now + WINDOW_SECONDS * 1_000 };
    windows.set(name, window);
    return window;
  };
  const current = (name: string, now: number) => {
    const window = windows.get(name);
    return window && window.endsAt > now ? window : undefined;
  };
  const take = (name: string, now: number) => {
    const window = current(name, now) ?? open(name, now);
    window.count += 1;
    return window;
  };
  const allowance = (limit: number, { count, endsAt }: Window, now: number): Allowance => ({
    limit,
    remaining: Math.max(0, limit - count),
    reset: Math.ceil((endsAt - now) / 1_000),
  });
  const refuse = (it: Allowance) =>
    new RateLimited(`more than ${it.limit} ${what} a minute; try again in ${it.reset} s`, it);

  return {
    take(name, limit) {
      const now = performance.now();
      const window = take(name, now);
      const it = allowance(limit, window, now);
      if (window.count > limit) throw refuse(it);
      return it;
    },
    count(name) {
      take(name, performance.now());
    },
    refuseSpent(name, limit) {
      const now = performance.now();
      const window = current(name, now);
      if (window && window.count >= limit) throw refuse(allowance(limit, window, now));
    },
  };
}

/** A 429 that knows when to come again. */
export class RateLimited extends ProblemError {
  readonly allowance: Allowance;
  constructor(detail: string, allowance: Allowance) {
    super('rate-limited', detail);
    this.allowance = allowance;
  }
}

/** The headers that tell an allowance, names and values in turn (draft-ietf-httpapi-ratelimit-headers). */
export const rateLimitHeaders = ({ limit, remaining, reset }: Allowance): string[] => [
  'ratelimit-policy',
  `"default";q=${limit};w=${WINDOW_SECONDS}`,
  'ratelimit',
  `"default";r=${remaining};t=${reset}`,
];
