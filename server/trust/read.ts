import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/trust';
import { notFound } from '@muster/shared/errors';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { reasonOf } from './history.ts';
import { foldVerdicts } from './lane.ts';
import {
  type Checked,
  confidence,
  dependability,
  type Evidence,
  integrityShown,
  levelOf,
  trustScore,
} from './score.ts';
import { EVERYTHING } from './store/integrity.ts';
import { type EvidenceRow, findTrust, listBlame, listLeaders, type TrustRow } from './store/read.ts';

/** Standings, the best first: an agent shows the worst. */
const FROM_BEST = ['TRUSTED', 'NEWCOMER', 'PROBATION', 'QUARANTINED', 'BANNED'] as const;

/** How far an agent is trusted, in each capability and on the whole: the worst standing of those that anybody looked at. What was found of it until now counts. */
export async function getTrust(ctx: Ctx, agentId: string) {
  await foldVerdicts(ctx, { agentIds: [agentId] });
  const rows = await findTrust(ctx.db.admin, agentId);
  if (!rows) throw notFound('agent', agentId);
  const blame = rows.some(isOut) ? await listBlame(ctx.db.admin, agentId) : [];
  const looked = rows.filter((row) => row.looked).sort((a, b) => rankOf(b) - rankOf(a));
  return {
    agent_id: agentId,
    ...shownScore(sumOf(rows)),
    ...shownStanding(looked[0], blame),
    capabilities: rows
      .filter(({ capability }) => capability !== EVERYTHING)
      .map((row) => ({
        capability: row.capability,
        ...shownScore(row),
        dependability: dependability(row),
        integrity: integrityShown(row),
        ...shownStanding(row, blame),
        completed: row.completed,
        failed: row.failed,
        timed_out: row.timed_out,
        lost: row.lost,
        last_evidence_at: row.last_evidence_at.toISOString(),
      })),
  };
}

const isOut = ({ standing }: Pick<TrustRow, 'standing'>) => standing === 'QUARANTINED' || standing === 'BANNED';
const rankOf = ({ standing }: TrustRow) => FROM_BEST.indexOf(standing);

const sumOf = (rows: readonly TrustRow[]) => {
  const sum = (name: keyof Evidence | keyof Checked) => rows.reduce((total, row) => total + row[name], 0);
  return {
    dependable: sum('dependable'),
    undependable: sum('undependable'),
    right: sum('right'),
    wrong: sum('wrong'),
  };
};

function shownScore(known: Evidence & Checked) {
  const trust_score = trustScore(known, known);
  return { trust_score, level: levelOf(trust_score), confidence: confidence(known) };
}

function shownStanding(row: TrustRow | undefined, blame: readonly EvidenceRow[]) {
  const why = row && isOut(row) ? blame.find(({ capability }) => capability === row.capability) : undefined;
  return {
    standing: row?.standing ?? ('NEWCOMER' as const),
    standing_reason: why ? reasonOf(why) : null,
    quarantined_until: row?.quarantined_until?.toISOString() ?? null,
  };
}

export async function getLeaderboard(
  ctx: Ctx,
  { query: { capability, min_runs, limit } }: InputOf<typeof contract.getLeaderboard>,
) {
  const rows = await listLeaders(ctx.db.admin, { owner: shownOwner(ctx), capability, minRuns: min_runs, limit });
  return {
    data: rows.map(({ dependable, undependable, right, wrong, ...row }) => {
      const runs = row.completed + row.failed + row.timed_out + row.lost;
      return {
        ...row,
        ...shownScore({ dependable, undependable, right, wrong }),
        success_rate: runs ? row.completed / runs : null,
      };
    }),
  };
}
