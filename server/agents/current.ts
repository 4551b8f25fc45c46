import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import type { Ctx } from '../platform/ctx.ts';
import type { Verb } from '../platform/endpoint.ts';
import { findAgentState } from './store/read.ts';

/** An agent that is not who it was must stop, not try again. */
export function refuseStale(
  { mode, current }: { mode: string; current: boolean },
  agentId: string,
  bootId: string,
): void {
  if (mode === 'REVOKED') throw new ProblemError('token-revoked', `agent ${agentId} was revoked`);
  if (!current) {
    throw new ProblemError(
      'stale-lease',
      `${bootId} is not the current life of agent ${agentId}: it left, or has started again elsewhere`,
    );
  }
}

/** A token is for one life of an agent: it does not speak for another. */
export function refuseOtherLife({ principal }: Ctx, agentId: string, bootId: string): void {
  if (principal.kind === 'agent') refuseStale({ mode: 'OPEN', current: principal.boot_id === bootId }, agentId, bootId);
}

/** For verbs whose statement does not look at who calls: an agent must still be who its token says. */
export const whileCurrent =
  <E extends Endpoint>(verb: Verb<E>): Verb<E> =>
  async (ctx, input) => {
    await refuseFormer(ctx);
    return verb(ctx, input);
  };

async function refuseFormer({ principal, db }: Ctx): Promise<void> {
  if (principal.kind !== 'agent') return;
  const state = await findAgentState(db.hot, principal.agent_id);
  if (!state) throw new ProblemError('token-revoked', `agent ${principal.agent_id} does not exist any more`);
  const current = state.boot_id === principal.boot_id && !state.left;
  refuseStale({ mode: state.mode, current }, principal.agent_id, principal.boot_id);
}
