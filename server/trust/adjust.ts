import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { refuseUnable } from './able.ts';
import { adjustment, fadedChecked, fadedEvidence } from './model.ts';
import { getTrust } from './read.ts';
import { UNCHECKED } from './score.ts';
import * as store from './store/dependability.ts';
import { findLedger } from './store/integrity.ts';
import { adjustStanding } from './word.ts';

/** Moves an agent's score, or where it stands, in what it can do, or has done. */
export async function adjustTrust(ctx: Ctx, { params, body }: InputOf<typeof contract.adjustTrust>) {
  const { agent_id } = params;
  const { capability, delta, standing, reason } = body;
  await refuseUnable(ctx, agent_id, capability);
  if (standing) await adjustStanding(ctx, { agent_id, capability, reason }, standing);
  if (delta) await adjustScore(ctx, agent_id, { capability, delta, reason });
  return getTrust(ctx, agent_id);
}

async function adjustScore(
  ctx: Ctx,
  agentId: string,
  { capability, delta, reason }: { capability: string; delta: number; reason: string },
): Promise<void> {
  const [known, ledger] = await Promise.all([
    store.findEvidence(ctx.db.admin, agentId, capability),
    findLedger(ctx.db.admin, { agent_id: agentId, capability }),
  ]);
  const evidence = known ? fadedEvidence(known, known.now - known.finished_at) : { dependable: 0, undependable: 0 };
  const checked = ledger ? fadedChecked(ledger.trust, ledger.now - ledger.trust.checked_at) : UNCHECKED;
  const piece = adjustment(evidence, checked, delta);
  const about = { agentId, capability, delta, piece, reason };
  if (!(await store.adjustTrust(ctx.db.admin, about, actorOf(ctx)!))) throw notFound('agent', agentId);
  ctx.notifier.tell('changed', agentId);
}
