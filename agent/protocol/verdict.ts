import { ProblemError } from '@muster/shared/errors';

/**
 * What a refusal says of the agent: this life was superseded by a newer one, or revoked; the coordinator does not know it; or
 * wants proofs that it was not told to make.
 */
export type AgentVerdict = 'superseded' | 'revoked' | 'unknown-agent' | 'proof-required';

/** What a failed call means: try again later; something about the agent; or the coordinator will never take this request. */
export type Verdict = AgentVerdict | 'retry' | 'refused';

/** Reads a verdict about the agent off an error. Not for calls about one run, where 404 and 409 speak of the run. */
export function verdictOf(error: unknown): Verdict {
  const told = (error as { verdict?: Verdict } | null)?.verdict;
  if (told) return told;
  if (!(error instanceof ProblemError) || error.retryable || error.code === 'invalid-proof') return 'retry';
  if (error.code === 'stale-lease') return 'superseded';
  if (error.code === 'token-revoked') return 'revoked';
  if (error.code === 'not-found' || error.status === 401) return 'unknown-agent';
  return 'refused';
}

/** Whether a call about one run says that the lease of that run is gone. */
export const leaseIsLost = (error: unknown): boolean =>
  error instanceof ProblemError && (error.status === 404 || error.status === 409);

/** Whether what was sent is at fault: sending the same again is no use. */
export const isBadRequest = (error: unknown): boolean =>
  error instanceof ProblemError && [400, 413, 422].includes(error.status);

/** What went wrong, in one line: undici wraps the reason a connection failed. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error instanceof AggregateError ? error.errors[0] : error.cause;
  return error.message || (inner ? messageOf(inner) : error.name);
}
