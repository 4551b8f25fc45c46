import type { RunStatus } from '@muster/shared/lifecycle';
import type { Sql } from '../platform/database.ts';

export interface TrustRow {
  capability: string;
  dependable: number;
  undependable: number;
  completed: number;
  failed: number;
  timed_out: number;
  lost: number;
  updated_at: Date;
}

/** What an agent has shown, per capability; undefined where the agent does not exist. */
export async function findTrust(sql: Sql, agentId: string): Promise<TrustRow[] | undefined> {
  const rows = await sql<(TrustRow | { capability: null })[]>`
    select t.capability, t.dependable, t.undependable, t.completed, t.failed, t.timed_out, t.lost, t.updated_at
    from agents a left join trust t on t.agent_id = a.agent_id where a.agent_id = ${agentId} order by t.capability`;
  return rows.length === 0 ? undefined : rows.filter((row): row is TrustRow => row.capability !== null);
}

/** What an agent's evidence in a capability comes to now, and how many pieces were folded. */
export async function findEvidence(
  sql: Sql,
  agentId: string,
  capability: string,
): Promise<{ dependable: number; undependable: number; fold_seq: number } | undefined> {
  const [row] = await sql<{ dependable: number; undependable: number; fold_seq: number }[]>`
    select dependable, undependable, fold_seq::float8 as fold_seq from trust where agent_id = ${agentId} and capability = ${capability}`;
  return row;
}

export interface EvidenceRow {
  fence: string;
  task_id: string;
  capability: string;
  status: RunStatus;
  fault: string | null;
  error: { message?: string } | null;
  fold_seq: string;
  finished_at: Date;
}

/** An agent's evidence, newest first, from a position (finished_at, fence) on. */
export async function listEvidence(
  sql: Sql,
  {
    agentId,
    capability,
    after,
    limit,
  }: { agentId: string; capability: string | undefined; after: readonly string[] | undefined; limit: number },
): Promise<EvidenceRow[]> {
  return sql<EvidenceRow[]>`
    select fence, task_id, capability, status, fault, error, fold_seq, finished_at from runs
    where agent_id = ${agentId} and fold_seq is not null ${capability ? sql`and capability = ${capability}` : sql``}
      ${after ? sql`and (finished_at, fence) < (${after[0]!}::timestamptz, ${after[1]!}::bigint)` : sql``}
    order by finished_at desc, fence desc limit ${limit}`;
}

/** The outcomes folded up to a piece of evidence, itself included, oldest first: as many as still weigh anything. */
export async function listOutcomes(
  sql: Sql,
  { agentId, capability, upTo, limit }: { agentId: string; capability: string; upTo: number; limit: number },
): Promise<{ fold_seq: number; completed: boolean }[]> {
  return sql<{ fold_seq: number; completed: boolean }[]>`
    select fold_seq::float8 as fold_seq, status = 'COMPLETED' as completed from (
      select fold_seq, status from runs where agent_id = ${agentId} and capability = ${capability} and fold_seq <= ${upTo}
      order by fold_seq desc limit ${limit}
    ) latest order by fold_seq`;
}

export interface LeaderRow extends Omit<TrustRow, 'capability' | 'updated_at'> {
  agent_id: string;
  display_name: string;
}

export async function listLeaders(
  sql: Sql,
  {
    owner,
    capability,
    minRuns,
    limit,
  }: { owner: string | undefined; capability: string | undefined; minRuns: number; limit: number },
): Promise<LeaderRow[]> {
  return sql<LeaderRow[]>`
    select a.agent_id, a.display_name, coalesce(sum(t.dependable), 0) as dependable, coalesce(sum(t.undependable), 0) as undependable,
      coalesce(sum(t.completed), 0)::int as completed, coalesce(sum(t.failed), 0)::int as failed,
      coalesce(sum(t.timed_out), 0)::int as timed_out, coalesce(sum(t.lost), 0)::int as lost
    from agents a left join trust t on t.agent_id = a.agent_id ${capability ? sql`and t.capability = ${capability}` : sql``}
    where a.mode <> 'REVOKED' ${owner === undefined ? sql`` : sql`and a.owner = ${owner}`} ${capability ? sql`and t.agent_id is not null` : sql``}
    group by a.agent_id
    having coalesce(sum(t.completed + t.failed + t.timed_out + t.lost), 0) >= ${minRuns}
    order by (1 + coalesce(sum(t.dependable), 0)) / (2 + coalesce(sum(t.dependable + t.undependable), 0)) desc, a.agent_id limit ${limit}`;
}
