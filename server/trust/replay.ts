import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { refold } from './effects.ts';
import { type Evidence, trustScore } from './score.ts';
import * as store from './store/dependability.ts';

/** Sums in another order differ in the last digits; more than this is an error. */
const ROUNDING = 1e-12;

/** Folds an agent's evidence anew; what differs is corrected unless it is to be shown only, or evidence comes meanwhile. */
export async function replayTrust(ctx: Ctx, { params: { agent_id }, query }: InputOf<typeof contract.replayTrust>) {
  const rows = await store.findTrust(ctx.db.admin, agent_id);
  if (!rows) throw notFound('agent', agent_id);
  const dry_run = query.dry_run === 'true';
  const capabilities = [];
  for (const { capability } of rows) capabilities.push(await replayed(ctx, agent_id, capability, dry_run));
  return { agent_id, dry_run, capabilities };
}

async function replayed(ctx: Ctx, agentId: string, capability: string, dryRun: boolean) {
  const kept = (await store.findEvidence(ctx.db.admin, agentId, capability))!;
  const again = await refold(ctx.db.admin, agentId, capability, kept.fold_seq);
  const difference = again
    ? Math.max(Math.abs(again.dependable - kept.dependable), Math.abs(again.undependable - kept.undependable))
    : null;
  const replacement = { agentId, capability, replayed: { ...kept, ...again } };
  const corrected =
    !dryRun && difference !== null && difference > ROUNDING
      ? await store.replaceTrust(ctx.db.admin, replacement, actorOf(ctx)!)
      : false;
  return { capability, kept: shown(kept), replayed: again ? shown(again) : null, difference, corrected };
}

const shown = ({ dependable, undependable }: Evidence) => ({
  dependable,
  undependable,
  trust_score: trustScore({ dependable, undependable }),
});
