import type * as contract from '@muster/shared/contract/agents';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { notFound } from '@muster/shared/errors';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, isMoment, notOurCursor, pageOf } from '../platform/page.ts';
import { pairIn } from '../platform/pair.ts';
import { type AgentRow, listAgents as listRows } from './store/read.ts';

const showAgent = ({ at: _, ...row }: AgentRow) => ({
  ...row,
  quarantined_until: row.quarantined_until?.toISOString() ?? null,
  last_seen_at: row.last_seen_at?.toISOString() ?? null,
  lease_expires_at: row.lease_expires_at?.toISOString() ?? null,
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
});

export async function findAgent(ctx: Ctx, agentId: string) {
  const [row] = await listRows(ctx.db.admin, { agent_id: agentId, limit: 1 });
  return row && showAgent(row);
}

export async function getAgent(ctx: Ctx, agentId: string) {
  const agent = await findAgent(ctx, agentId);
  if (!agent) throw notFound('agent', agentId);
  return agent;
}

export async function listAgents(
  ctx: Ctx,
  { query: { cursor, limit, ...filter } }: InputOf<typeof contract.listAgents>,
) {
  const rows = await listRows(ctx.db.admin, {
    ...filter,
    owner: shownOwner(ctx),
    after: decodeCursor(cursor, 1),
    limit: limit + 1,
  });
  return pageOf(rows, limit, showAgent, (row) => [row.agent_id]);
}

export async function searchAgents(
  ctx: Ctx,
  { query: { cursor, limit, q, label, sort_by, ...filter } }: InputOf<typeof contract.searchAgents>,
) {
  const byTrust = sort_by === 'trust_score';
  const after = decodeCursor(cursor, byTrust ? 3 : 1);
  if (byTrust && after && !(isScore(after[0]!) && isMoment(after[2]!))) throw notOurCursor();
  const rows = await listRows(ctx.db.admin, {
    ...filter,
    owner: shownOwner(ctx),
    name: q,
    label: pairIn('#/query/label', label),
    sort_by,
    after,
    limit: limit + 1,
  });
  return pageOf(rows, limit, showAgent, (row) =>
    byTrust ? [String(row.trust_score), row.agent_id, row.at.toISOString()] : [row.agent_id],
  );
}

const isScore = (text: string) => Number.isFinite(Number(text)) && String(Number(text)) === text;
