import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound } from '@muster/shared/errors';
import { runIdOf } from '@muster/shared/ids';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, notOurCursor, pageOf } from '../platform/page.ts';
import { type Effects, effectsOf } from './effects.ts';
import { confidence, dependability, integrityShown, levelOf, trustScore, UNCHECKED } from './score.ts';
import * as store from './store/dependability.ts';

const STANDING = 'NEWCOMER' as const;

export async function getTrust(ctx: Ctx, agentId: string) {
  const rows = await store.findTrust(ctx.db.admin, agentId);
  if (!rows) throw notFound('agent', agentId);
  const total = {
    dependable: rows.reduce((sum, row) => sum + row.dependable, 0),
    undependable: rows.reduce((sum, row) => sum + row.undependable, 0),
  };
  return {
    agent_id: agentId,
    trust_score: trustScore(total),
    level: levelOf(trustScore(total)),
    confidence: confidence(total),
    standing: STANDING,
    capabilities: rows.map(({ dependable, undependable, updated_at, ...row }) => ({
      ...row,
      trust_score: trustScore({ dependable, undependable }),
      level: levelOf(trustScore({ dependable, undependable })),
      dependability: dependability({ dependable, undependable }),
      integrity: integrityShown(UNCHECKED),
      confidence: confidence({ dependable, undependable }),
      standing: STANDING,
      last_evidence_at: updated_at.toISOString(),
    })),
  };
}

/** The evidence, newest first, and what each piece did. */
export async function getTrustHistory(
  ctx: Ctx,
  { params: { agent_id }, query: { capability, cursor, limit } }: InputOf<typeof contract.getTrustHistory>,
) {
  if (!(await store.findTrust(ctx.db.admin, agent_id))) throw notFound('agent', agent_id);
  const after = positionOf(cursor);
  const rows = await store.listEvidence(ctx.db.admin, { agentId: agent_id, capability, after, limit: limit + 1 });
  const effects = new Map<string, Effects>();
  for (const name of new Set(rows.map((row) => row.capability)))
    effects.set(name, await effectsOf(ctx.db.admin, agent_id, name, foldsOf(rows, name)));
  return pageOf(
    rows,
    limit,
    (row) => showEvidence(row, effects.get(row.capability)?.get(Number(row.fold_seq))),
    (row) => [row.at.toISOString(), row.capability, row.fold_seq],
  );
}

const foldsOf = (rows: readonly store.EvidenceRow[], capability: string) =>
  rows.filter((row) => row.capability === capability).map((row) => Number(row.fold_seq));

function showEvidence(row: store.EvidenceRow, effect?: { before: number; after: number }) {
  return {
    run_id: row.fence === null ? null : runIdOf(row.fence),
    task_id: row.task_id,
    capability: row.capability,
    outcome: row.outcome,
    fault: row.fault,
    trust_score_before: effect?.before ?? null,
    trust_score_after: effect?.after ?? null,
    trust_delta: effect ? effect.after - effect.before : null,
    reason: reasonOf(row),
    at: row.at.toISOString(),
  };
}

const REASONS: Partial<Record<store.EvidenceRow['outcome'], string>> = {
  COMPLETED: 'completed the run',
  FAILED: 'failed by its own fault',
  TIMED_OUT: 'ran longer than it may',
  LOST: 'lost its lease',
};

function reasonOf({ outcome, message, delta }: store.EvidenceRow): string {
  const reason = delta === null ? (REASONS[outcome] ?? outcome) : `adjusted by ${delta > 0 ? '+' : ''}${delta}`;
  return message ? `${reason}: ${message}` : reason;
}

function positionOf(cursor: string | undefined): string[] | undefined {
  const position = decodeCursor(cursor, 3);
  if (position && !(isMoment(position[0]!) && /^\d{1,18}$/.test(position[2]!))) throw notOurCursor();
  return position;
}

const isMoment = (text: string) => !Number.isNaN(Date.parse(text)) && new Date(text).toISOString() === text;

export async function getLeaderboard(
  ctx: Ctx,
  { query: { capability, min_runs, limit } }: InputOf<typeof contract.getLeaderboard>,
) {
  const rows = await store.listLeaders(ctx.db.admin, { owner: shownOwner(ctx), capability, minRuns: min_runs, limit });
  return {
    data: rows.map(({ dependable, undependable, ...row }) => {
      const runs = row.completed + row.failed + row.timed_out + row.lost;
      const evidence = { dependable, undependable };
      return {
        ...row,
        trust_score: trustScore(evidence),
        level: levelOf(trustScore(evidence)),
        confidence: confidence(evidence),
        success_rate: runs ? row.completed / runs : null,
      };
    }),
  };
}
