import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound } from '@muster/shared/errors';
import { runIdOf } from '@muster/shared/ids';
import type { Ctx } from '../platform/ctx.ts';
import { decodeCursor, isMoment, notOurCursor, pageOf } from '../platform/page.ts';
import { checkedEffectsOf } from './checked-effects.ts';
import { effectsOf } from './effects.ts';
import { foldVerdicts } from './lane.ts';
import { type Checked, type Evidence, trustScore } from './score.ts';
import { findFoldAt } from './store/dependability.ts';
import { type EvidenceRow, findTrust, listEvidence } from './store/read.ts';

/** The score before and after a piece of evidence; null where too much of what came before has been deleted to tell. */
type Told = (row: EvidenceRow) => { before: number | null; after: number | null };

/** The evidence, newest first, and what each piece did. */
export async function getTrustHistory(
  ctx: Ctx,
  { params: { agent_id }, query: { capability, cursor, limit } }: InputOf<typeof contract.getTrustHistory>,
) {
  if (!(await findTrust(ctx.db.admin, agent_id))) throw notFound('agent', agent_id);
  const after = positionOf(cursor);
  if (!after) await foldVerdicts(ctx, { agentIds: [agent_id] });
  const rows = await listEvidence(ctx.db.admin, { agentId: agent_id, capability, after, limit: limit + 1 });
  const told = new Map<string, Told>();
  for (const name of new Set(rows.map((row) => row.capability)))
    told.set(
      name,
      await tell(
        ctx,
        agent_id,
        name,
        rows.filter((row) => row.capability === name),
      ),
    );
  return pageOf(
    rows,
    limit,
    (row) => showEvidence(row, told.get(row.capability)!(row)),
    (row) => [row.at.toISOString(), row.capability, String(row.ledger), row.fold_seq],
  );
}

/** Both halves of the score as they stood at each piece: the half it did not move as the last piece of the other ledger left it, faded since. */
async function tell(ctx: Ctx, agentId: string, capability: string, rows: readonly EvidenceRow[]): Promise<Told> {
  const sql = ctx.db.admin;
  const verdict = rows.find((row) => row.ledger === 1);
  const folds = rows.filter((row) => row.ledger === 0).map((row) => Number(row.fold_seq));
  const last = verdict && (await findFoldAt(sql, { agentId, capability, at: verdict.at }));
  if (last !== undefined) folds.push(last);
  const dependable = await effectsOf(sql, agentId, capability, folds);
  const checked = await checkedEffectsOf(sql, agentId, capability, rows.at(-1)!.at.getTime());
  return (row) => {
    const [fold, at] = [Number(row.fold_seq), row.at.getTime()];
    if (row.ledger === 0) {
      const [effect, known] = [dependable.of(fold), checked.until(at)];
      const score = (evidence: Evidence | undefined) => (evidence && known ? trustScore(evidence, known) : null);
      return { before: score(effect?.before), after: score(effect?.after) };
    }
    const [effect, known] = [checked.of(fold), dependable.asOf(at)];
    const score = (found: Checked | undefined) => (found && known ? trustScore(known, found) : null);
    return { before: score(effect?.before), after: score(effect?.after) };
  };
}

function showEvidence(row: EvidenceRow, { before, after }: ReturnType<Told>) {
  return {
    run_id: row.fence === null ? null : runIdOf(row.fence),
    task_id: row.task_id,
    capability: row.capability,
    outcome:
      MOVES[row.outcome as keyof typeof MOVES] ?? (row.outcome as Exclude<EvidenceRow['outcome'], keyof typeof MOVES>),
    fault: row.fault,
    trust_score_before: before,
    trust_score_after: after,
    trust_delta: before === null || after === null ? null : after - before,
    reason: reasonOf(row),
    at: row.at.toISOString(),
  };
}

const MOVES = {
  promote: 'PROMOTED',
  refute: 'REFUTED',
  quarantine: 'QUARANTINED',
  ban: 'BANNED',
  release: 'RELEASED',
  return: 'BACK',
} as const;

const REASONS: Partial<Record<EvidenceRow['outcome'], string>> = {
  COMPLETED: 'completed the run',
  FAILED: 'failed by its own fault',
  TIMED_OUT: 'ran longer than it may',
  LOST: 'lost its lease',
  RIGHT: 'found right',
  WRONG: 'found wrong',
  COLLUDED: 'found wrong in the same way as another',
  promote: 'said to be trusted',
  refute: 'put on probation',
  quarantine: 'put in quarantine',
  ban: 'banned',
  release: 'released, on probation',
  return: 'back from quarantine, on probation',
};

/** What happened, for a person to read. */
export function reasonOf({ outcome, message, delta, fence, task_id, judge, kind }: EvidenceRow): string {
  if (delta !== null) return `adjusted by ${delta > 0 ? '+' : ''}${delta}: ${message}`;
  const reason = REASONS[outcome] ?? outcome;
  if (fence !== null && judge !== null)
    return `${reason} by ${judge.split(',').join(' and ')} on task ${task_id}${judge === kind ? '' : ` (${kind})`}`;
  return message ? `${reason}: ${message}` : reason;
}

function positionOf(cursor: string | undefined): string[] | undefined {
  const position = decodeCursor(cursor, 4);
  if (position && !(isMoment(position[0]!) && /^[01]$/.test(position[2]!) && /^\d{1,18}$/.test(position[3]!)))
    throw notOurCursor();
  return position;
}
