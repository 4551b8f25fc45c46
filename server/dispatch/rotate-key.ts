import * as contract from '@muster/shared/contract/agents';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { verifyRotation } from '../agents/proofs.ts';
import { grantSession, type Session } from '../agents/session.ts';
import { findEnrolment } from '../agents/store/enrolment.ts';
import { type NewKey, rotateKey } from '../agents/store/rotate-key.ts';
import type { Ctx } from '../platform/ctx.ts';
import { constraintOf } from '../platform/storage-errors.ts';
import type { Dispatch } from './dispatch.ts';
import { cannotBoot, keyToBind } from './register.ts';

/** Gives an agent a new key, by word of the old one and of the new. What the old one bought is over at once. */
export async function rotateAgentKey(
  ctx: Ctx,
  dispatch: Dispatch,
  { params: { agent_id }, body }: InputOf<typeof contract.rotateAgentKey>,
): Promise<Session> {
  const known = await findEnrolment(ctx.db.admin, agent_id);
  if (!known) throw new ProblemError('token-revoked', `agent ${agent_id} does not exist`);
  const { rotation, confirmation, key } = await verifyRotation(body, known.public_jwk, agent_id, ctx.clock.now());
  const { boot_id } = rotation;
  const bound = await keyToBind(ctx, dispatch, contract.rotateAgentKey, key.jkt, { agent_id });
  const from = { jkt: known.jkt, jti: rotation.jti, exp: rotation.exp };
  const to = { ...key, jti: confirmation.jti, exp: confirmation.exp };
  const changed = await change(ctx, { agent_id, boot_id, from, to });
  if (!changed) throw await cannotBoot(ctx, { agentId: agent_id, bootId: boot_id, jkt: known.jkt });
  ctx.notifier.tell('epoch', { agent_id, token_epoch: changed.token_epoch, revoked: false });
  // A poll that waits by an old token is answered now, and comes back with a new one.
  ctx.notifier.tell('changed', agent_id);
  return grantSession(dispatch.keys, ctx.clock, { agent_id, boot_id, token_epoch: changed.token_epoch, jkt: bound });
}

async function change(ctx: Ctx, key: NewKey): Promise<{ token_epoch: number } | undefined> {
  try {
    return await rotateKey(ctx.db.admin, key);
  } catch (error) {
    const constraint = constraintOf(error);
    if (constraint === 'agents_jkt')
      throw new ProblemError('conflict', 'the new key is the one another agent has', { cause: error });
    if (constraint === 'used_jtis_once')
      throw new ProblemError('invalid-token', 'the jti of the rotation or of its confirmation was used before', {
        cause: error,
      });
    throw error;
  }
}
