/** How the pause before a retry grows. `none`: a failure is final. */
export const RETRY_POLICIES = ['none', 'fixed', 'linear', 'exponential'] as const;
export type RetryPolicy = (typeof RETRY_POLICIES)[number];

/** Retry pauses start here, in milliseconds. */
export const BACKOFF_BASE_MS = 1_000;
/** No pause is longer, in milliseconds. */
export const BACKOFF_CAP_MS = 300_000;

/**
 * Milliseconds to wait after failure number `failures` (from 1): fixed b, linear b*n, exponential b*2^(n-1), capped, then
 * spread over its upper half ("equal jitter": half fixed, half random; AWS Architecture Blog, "Exponential Backoff And Jitter").
 * `random` is in [0, 1).
 */
export function backoffMs(
  policy: RetryPolicy,
  failures: number,
  random: number,
  { baseMs = BACKOFF_BASE_MS, capMs = BACKOFF_CAP_MS }: { baseMs?: number; capMs?: number } = {},
): number {
  const factor = { none: 0, fixed: 1, linear: failures, exponential: 2 ** Math.min(failures - 1, 30) }[policy];
  const full = Math.min(baseMs * factor, capMs);
  return Math.round(full / 2 + (full / 2) * random);
}
