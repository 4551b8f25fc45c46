import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { refold } from './effects.ts';
import { foldVerdicts, tellMoves } from './lane.ts';
import { checked, newcomer, type Trust, told, type Verdict, type Word } from './model.ts';
import { type Evidence, trustScore } from './score.ts';
import { findEvidence, replaceTrust } from './store/dependability.ts';
import { findLedger, keyOf, type Ledger, writeFold } from './store/integrity.ts';
import { findTrust } from './store/read.ts';
import { type LedgerRow, listLedger } from './store/verdicts.ts';

/** Sums in another order differ in the last digits; more than this is an error. */
const ROUNDING = 1e-12;
/** The longest ledger that is folded anew by one request. */
const MOST_ROWS = 200_000;

/** Folds an agent's evidence anew; what differs is corrected unless it is to be shown only, or evidence comes meanwhile. */
export async function replayTrust(ctx: Ctx, { params: { agent_id }, query }: InputOf<typeof contract.replayTrust>) {
  const dry_run = query.dry_run === 'true';
  if (!dry_run) await foldVerdicts(ctx, { agentIds: [agent_id] });
  const rows = await findTrust(ctx.db.admin, agent_id);
  if (!rows) throw notFound('agent', agent_id);
  const capabilities = [];
  for (const { capability } of rows)
    capabilities.push({
      capability,
      ...(await replayEvidence(ctx, agent_id, capability, dry_run)),
      integrity: await replayIntegrity(ctx, agent_id, capability, dry_run),
    });
  if (capabilities.some(({ corrected, integrity }) => corrected || integrity?.corrected))
    ctx.notifier.tell('changed', agent_id);
  return { agent_id, dry_run, capabilities };
}

const NOTHING = { dependable: 0, undependable: 0, finished_at: 0, fold_seq: 0 };

async function replayEvidence(ctx: Ctx, agentId: string, capability: string, dryRun: boolean) {
  const kept = (await findEvidence(ctx.db.admin, agentId, capability)) ?? NOTHING;
  const again = await refold(ctx.db.admin, agentId, capability, kept.fold_seq);
  const difference = again
    ? Math.max(Math.abs(again.dependable - kept.dependable), Math.abs(again.undependable - kept.undependable))
    : null;
  const replacement = { agentId, capability, replayed: { ...kept, ...again } };
  const corrected =
    !dryRun && difference !== null && difference > ROUNDING
      ? await replaceTrust(ctx.db.admin, replacement, actorOf(ctx)!)
      : false;
  return { kept: shown(kept), replayed: again ? shown(again) : null, difference, corrected };
}

const shown = ({ dependable, undependable }: Evidence) => ({
  dependable,
  undependable,
  trust_score: trustScore({ dependable, undependable }),
});

async function replayIntegrity(ctx: Ctx, agent_id: string, capability: string, dryRun: boolean) {
  const ledger = await findLedger(ctx.db.admin, { agent_id, capability });
  if (!ledger?.fold_seq) return null;
  const rows = await listLedger(ctx.db.admin, { agent_id, capability, upTo: ledger.fold_seq, limit: MOST_ROWS });
  const again = rows.length === ledger.fold_seq ? rows.reduceRight(foldRow, newcomer(0)) : null;
  const difference = again && Math.max(...COUNTS.map((name) => Math.abs(again[name] - ledger.trust[name])));
  const differs = again && (difference! > ROUNDING || MARKS.some((name) => again[name] !== ledger.trust[name]));
  const corrected = !dryRun && differs ? await correct(ctx, ledger, again) : false;
  return { kept: shownIntegrity(ledger.trust), replayed: again && shownIntegrity(again), difference, corrected };
}

const COUNTS = ['right', 'wrong', 'streak', 'faults'] as const;
const MARKS = ['standing', 'quarantines', 'quarantined_until', 'checked_at'] as const;

/** One row of the ledger more: a verdict, or a word. */
export const foldRow = (so: Trust, { kind, found, vouched, at }: LedgerRow): Trust =>
  found === null ? told(so, kind as Word, at) : checked(so, { found, vouched } as Verdict, at);

const shownIntegrity = ({ right, wrong, streak, faults, standing, quarantines, quarantined_until }: Trust) => ({
  right,
  wrong,
  streak,
  faults,
  standing,
  quarantines,
  quarantined_until: quarantined_until === null ? null : new Date(quarantined_until).toISOString(),
});

async function correct(ctx: Ctx, { now: _, ...ledger }: Ledger & { now: number }, trust: Trust): Promise<boolean> {
  const { agent_id, capability } = ledger;
  const step = { ...ledger, trust, was: ledger.fold_seq, stood: ledger.trust.standing };
  const audited = {
    before: { capability, ...shownIntegrity(ledger.trust) },
    after: { capability, ...shownIntegrity(trust) },
  };
  const events = [{ agent_id, capability, kind: 'trust.replayed', detail: { capability }, ...audited }];
  const by = { actor: actorOf(ctx)!, action: 'trust.replay' };
  const taken = new Set((await writeFold(ctx.db.admin, { steps: [step], events }, by)).map(keyOf));
  tellMoves(ctx.notifier, [step], taken);
  return taken.size > 0;
}
