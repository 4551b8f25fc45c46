import { ProblemError } from '@muster/shared/errors';
import type { Standing } from './store/claim.ts';

/** An agent that is not who it was must stop, not try again. */
export function refuseStale(
  { mode, current }: Pick<Standing, 'mode' | 'current'>,
  agentId: string,
  bootId: string,
): void {
  if (mode === 'REVOKED') throw new ProblemError('token-revoked', `agent ${agentId} was revoked`);
  if (!current)
    throw new ProblemError(
      'stale-lease',
      `${bootId} is not the current life of agent ${agentId}: it has started again elsewhere`,
    );
}
