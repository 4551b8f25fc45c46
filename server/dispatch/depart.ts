import type * as contract from '@muster/shared/contract/dispatch';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { notFound, ProblemError } from '@muster/shared/errors';
import { refuseOtherLife } from '../agents/current.ts';
import { findAgent } from '../agents/read.ts';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { leaveAgent, revokeAgent } from './store/boot.ts';

/** An agent goes by itself: what it holds is queued again at once. */
export async function leave(ctx: Ctx, { params, body }: InputOf<typeof contract.leave>) {
  refuseOtherLife(ctx, params.agent_id, body.boot_id);
  const departed = await leaveAgent(ctx.db.admin, params.agent_id, body.boot_id);
  if (!departed)
    throw new ProblemError('stale-lease', `${body.boot_id} is not the current life of agent ${params.agent_id}`);
  ctx.notifier.tell('ready', departed.ready);
  return { requeued: departed.requeued };
}

/** An admin sends an agent away; doing so again changes nothing. */
export async function deleteAgent(ctx: Ctx, agentId: string) {
  const departed = await revokeAgent(ctx.db.admin, agentId, actorOf(ctx));
  if (departed) {
    ctx.notifier.tell('epoch', { agent_id: agentId, token_epoch: departed.token_epoch, revoked: true });
    ctx.notifier.tell('ready', departed.ready);
  }
  ctx.notifier.tell('changed', agentId);
  const agent = await findAgent(ctx, agentId);
  if (!agent) throw notFound('agent', agentId);
  return agent;
}
