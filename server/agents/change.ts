import type * as contract from '@muster/shared/contract/agents';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { notFound, ProblemError } from '@muster/shared/errors';
import { AGENT_MODE, type AgentMode, statesAllowing } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import { isAdmin } from '../platform/auth.ts';
import type { Ctx } from '../platform/ctx.ts';
import { type Wish, withinEnrolment } from './limits.ts';
import { getAgent } from './read.ts';
import { findEnrolment } from './store/enrolment.ts';
import { setMode, updateAgent as updateRow } from './store/write.ts';

const MODE = { cordon: 'CORDONED', uncordon: 'OPEN', drain: 'DRAINING' } as const;

/** Cordons, uncordons or drains an agent. Asking for the mode it already has is fine. */
export async function changeMode(ctx: Ctx, agentId: string, verb: keyof typeof MODE) {
  const changed = await setMode(ctx.db.admin, agentId, verb, MODE[verb], actorOf(ctx));
  ctx.notifier.tell('changed', agentId);
  const agent = await getAgent(ctx, agentId);
  if (!changed && agent.mode !== MODE[verb]) {
    const allowed: readonly AgentMode[] = statesAllowing(AGENT_MODE, verb);
    throw new ProblemError('conflict', `agent ${agentId} is ${agent.mode}; ${verb} needs ${allowed.join(' or ')}`);
  }
  return agent;
}

export async function updateAgent(ctx: Ctx, { params, body }: InputOf<typeof contract.updateAgent>) {
  if (body.anchor !== undefined && !isAdmin(ctx.principal))
    throw new ProblemError('insufficient-scope', 'only an admin says who is an anchor');
  await refuseBeyond(ctx, params.agent_id, body);
  await updateRow(ctx.db.admin, params.agent_id, body, actorOf(ctx));
  ctx.notifier.tell('changed', params.agent_id);
  return getAgent(ctx, params.agent_id);
}

export async function getCapabilities(ctx: Ctx, agentId: string) {
  const { capabilities } = await getAgent(ctx, agentId);
  return { agent_id: agentId, capabilities };
}

export async function putCapabilities(ctx: Ctx, { params, body }: InputOf<typeof contract.putCapabilities>) {
  const capabilities = [...new Set(body.capabilities)];
  await refuseBeyond(ctx, params.agent_id, { capabilities });
  await updateRow(ctx.db.admin, params.agent_id, { capabilities }, actorOf(ctx));
  ctx.notifier.tell('changed', params.agent_id);
  return getCapabilities(ctx, params.agent_id);
}

async function refuseBeyond(ctx: Ctx, agentId: string, wish: Wish): Promise<void> {
  const enrolment = await findEnrolment(ctx.db.admin, agentId);
  if (!enrolment) throw notFound('agent', agentId);
  withinEnrolment(wish, enrolment);
}
