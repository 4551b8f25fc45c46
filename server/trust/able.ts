import { ProblemError } from '@muster/shared/errors';
import { meets } from '../agents/capability.ts';
import { getAgent } from '../agents/read.ts';
import type { Ctx } from '../platform/ctx.ts';
import { findEvidence } from './store/dependability.ts';
import { findLedger } from './store/integrity.ts';

/** Refuses a word about what an agent neither can do nor ever did. */
export async function refuseUnable(ctx: Ctx, agent_id: string, capability: string): Promise<void> {
  if (await findEvidence(ctx.db.admin, agent_id, capability)) return;
  const { capabilities } = await getAgent(ctx, agent_id);
  if (capabilities.some((has) => meets(has, capability))) return;
  if ((await findLedger(ctx.db.admin, { agent_id, capability }))?.fold_seq) return;
  const detail = `agent ${agent_id} neither can do ${capability} nor has done it`;
  throw new ProblemError('validation-failed', detail, { errors: [{ pointer: '#/capability', detail }] });
}
