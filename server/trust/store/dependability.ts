import type { RunStatus } from '@muster/shared/lifecycle';
import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { DEFAULTS } from '../parameters.ts';
import type { Evidence } from '../score.ts';

const DECAY = DEFAULTS.dependability_decay;

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

/** One piece of evidence of (agent, capability), or all of it up to that piece. */
export interface Piece extends Evidence {
  fold_seq: number;
}

/** What an agent's evidence in a capability comes to now, and how many pieces were folded. */
export async function findEvidence(sql: Sql, agentId: string, capability: string): Promise<Piece | undefined> {
  const [row] = await sql<Piece[]>`
    select dependable, undependable, fold_seq::float8 as fold_seq from trust where agent_id = ${agentId} and capability = ${capability}`;
  return row;
}

export interface EvidenceRow {
  /** Null where it is no run. */
  fence: string | null;
  task_id: string | null;
  capability: string;
  outcome: RunStatus | 'ADJUSTED';
  fault: string | null;
  /** What an error or an admin said. */
  message: string | null;
  delta: number | null;
  fold_seq: string;
  at: Date;
}

/** An agent's evidence, newest first, from a position (at, capability, fold_seq) on. */
export async function listEvidence(
  sql: Sql,
  {
    agentId,
    capability,
    after,
    limit,
  }: { agentId: string; capability: string | undefined; after: readonly string[] | undefined; limit: number },
): Promise<EvidenceRow[]> {
  const page = (at: Fragment) => sql`
    agent_id = ${agentId} ${capability ? sql`and capability = ${capability}` : sql``}
      ${after ? sql`and (${at}, capability, fold_seq) < (${after[0]!}::timestamptz, ${after[1]!}, ${after[2]!}::bigint)` : sql``}
    order by ${at} desc, capability desc, fold_seq desc limit ${limit}`;
  return sql<EvidenceRow[]>`
    select * from (
      (select fence, task_id, capability, status as outcome, fault, left(error ->> 'message', 200) as message, null::float8 as delta, fold_seq, finished_at as at
        from runs where fold_seq is not null and ${page(sql`finished_at`)})
      union all
      (select null, null, capability, 'ADJUSTED', null, reason, delta, fold_seq, at
        from trust_adjustments where ${page(sql`at`)})
    ) evidence order by at desc, capability desc, fold_seq desc limit ${limit}`;
}

/** The pieces folded up to one of them, itself included, oldest first: as many as still weigh anything. */
export async function listPieces(
  sql: Sql,
  { agentId, capability, upTo, limit }: { agentId: string; capability: string; upTo: number; limit: number },
): Promise<Piece[]> {
  const page = sql`agent_id = ${agentId} and capability = ${capability} and fold_seq <= ${upTo} order by fold_seq desc limit ${limit}`;
  return sql<Piece[]>`
    select fold_seq::float8 as fold_seq, dependable, undependable from (
      (select fold_seq, (status = 'COMPLETED')::int::float8 as dependable, (status <> 'COMPLETED')::int::float8 as undependable from runs where ${page})
      union all
      (select fold_seq, dependable, undependable from trust_adjustments where ${page})
      order by fold_seq desc limit ${limit}
    ) latest order by fold_seq`;
}

/** Folds an admin's word into the trust of (agent, capability) and keeps it as evidence. False where the agent does not exist. */
export async function adjustTrust(
  sql: Sql,
  {
    agentId,
    capability,
    delta,
    piece,
    reason,
  }: { agentId: string; capability: string; delta: number; piece: Evidence; reason: string },
  by: Actor,
): Promise<boolean> {
  const { dependable, undependable } = piece;
  const of = (d: Fragment, u: Fragment) => sql`'dependability', (1 + ${d}) / (2 + ${d} + ${u})`;
  // Siblings see the row as it was when the statement began; what it was when it was changed is read off what it became.
  const [d, u] = [
    sql`((f.dependable - ${dependable}::float8) / ${DECAY}::float8)`,
    sql`((f.undependable - ${undependable}::float8) / ${DECAY}::float8)`,
  ];
  const rows = await transition(sql, {
    before: {
      folded: sql`
        insert into trust as t (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
        select agent_id, ${capability}::text, ${dependable}::float8, ${undependable}::float8, 0, 0, 0, 0, 1, (select now from clock)
        from agents where agent_id = ${agentId}
        on conflict (agent_id, capability) do update set
          dependable = t.dependable * ${DECAY}::float8 + excluded.dependable, undependable = t.undependable * ${DECAY}::float8 + excluded.undependable,
          fold_seq = t.fold_seq + 1, updated_at = excluded.updated_at
        returning agent_id, capability, dependable, undependable, fold_seq`,
    },
    change: sql`
      select f.agent_id as subject_id, a.owner, jsonb_build_object('capability', f.capability, 'delta', ${delta}::float8) as detail,
        jsonb_build_object('capability', f.capability, ${of(d, u)}) as before,
        jsonb_build_object('capability', f.capability, ${of(sql`f.dependable`, sql`f.undependable`)}, 'reason', ${reason}::text) as after
      from folded f join agents a on a.agent_id = f.agent_id`,
    also: {
      kept: sql`
        insert into trust_adjustments (agent_id, capability, fold_seq, delta, dependable, undependable, reason, actor, at)
        select agent_id, capability, fold_seq, ${delta}::float8, ${dependable}::float8, ${undependable}::float8, ${reason}, ${by.actor}, (select now from clock)
        from folded`,
    },
    event: recordEvent(sql, 'trust.adjusted'),
    audit: recordAudit(sql, by, 'trust.adjust'),
  });
  return rows.length > 0;
}

/** Puts what a replay came to in place of what was kept. False where evidence has come meanwhile. */
export async function replaceTrust(
  sql: Sql,
  { agentId, capability, replayed }: { agentId: string; capability: string; replayed: Piece },
  by: Actor,
): Promise<boolean> {
  const told = (row: string) =>
    sql.unsafe(
      `jsonb_build_object('capability', ${row}.capability, 'dependable', ${row}.dependable, 'undependable', ${row}.undependable)`,
    );
  const rows = await transition(sql, {
    change: sql`
      update trust t set dependable = ${replayed.dependable}, undependable = ${replayed.undependable}
      from (
        select trust.*, owner from trust join agents using (agent_id)
        where agent_id = ${agentId} and capability = ${capability} and fold_seq = ${replayed.fold_seq} for no key update of trust
      ) was where t.agent_id = was.agent_id and t.capability = was.capability
      returning t.agent_id as subject_id, was.owner, jsonb_build_object('capability', t.capability) as detail, ${told('was')} as before, ${told('t')} as after`,
    event: recordEvent(sql, 'trust.replayed'),
    audit: recordAudit(sql, by, 'trust.replay'),
  });
  return rows.length > 0;
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
