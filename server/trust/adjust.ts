import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound, ProblemError } from '@muster/shared/errors';
import { meets } from '../agents/capability.ts';
import { getAgent } from '../agents/read.ts';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { adjustment } from './model.ts';
import { getTrust } from './read.ts';
import { UNCHECKED } from './score.ts';
import * as store from './store/dependability.ts';

/** Moves an agent's score in what it can do, or has done. */
export async function adjustTrust(
  ctx: Ctx,
  { params: { agent_id }, body: { capability, delta, reason } }: InputOf<typeof contract.adjustTrust>,
) {
  const known = await store.findEvidence(ctx.db.admin, agent_id, capability);
  if (!known) await refuseUnable(ctx, agent_id, capability);
  const piece = adjustment(known ?? { dependable: 0, undependable: 0 }, UNCHECKED, delta);
  const about = { agentId: agent_id, capability, delta, piece, reason };
  if (!(await store.adjustTrust(ctx.db.admin, about, actorOf(ctx)!))) throw notFound('agent', agent_id);
  return getTrust(ctx, agent_id);
}

async function refuseUnable(ctx: Ctx, agentId: string, capability: string): Promise<void> {
  const { capabilities } = await getAgent(ctx, agentId);
  if (capabilities.some((has) => meets(has, capability))) return;
  const detail = `agent ${agentId} neither can do ${capability} nor has done it`;
  throw new ProblemError('validation-failed', detail, { errors: [{ pointer: '#/capability', detail }] });
}
