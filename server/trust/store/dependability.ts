import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { ADDED, faded } from '../fold.ts';
import type { Evidence } from '../score.ts';

/** What an agent's evidence in a capability comes to, as it stood at `finished_at`, and how many pieces were folded. */
export interface Folded extends Evidence {
  finished_at: number;
  fold_seq: number;
}

/** The same, and when it was read. */
export async function findEvidence(
  sql: Sql,
  agentId: string,
  capability: string,
): Promise<(Folded & { now: number }) | undefined> {
  const [row] = await sql<(Omit<Folded, 'finished_at'> & { updated_at: Date; now: Date })[]>`
    select dependable, undependable, fold_seq::float8 as fold_seq, updated_at, now from (select muster_now() as now) clock, trust
    where agent_id = ${agentId} and capability = ${capability}`;
  if (!row) return undefined;
  const { updated_at, now, ...evidence } = row;
  return { ...evidence, finished_at: updated_at.getTime(), now: now.getTime() };
}

/** One piece of evidence of (agent, capability). */
export interface Piece extends Evidence {
  fold_seq: number;
  at: number;
}

/** The pieces folded up to one of them, itself included, oldest first: as many as still weigh anything. */
export async function listPieces(
  sql: Sql,
  { agentId, capability, upTo, limit }: { agentId: string; capability: string; upTo: number; limit: number },
): Promise<Piece[]> {
  const page = sql`agent_id = ${agentId} and capability = ${capability} and fold_seq <= ${upTo} order by fold_seq desc limit ${limit}`;
  const rows = await sql<(Omit<Piece, 'at'> & { at: Date })[]>`
    select fold_seq::float8 as fold_seq, dependable, undependable, at from (
      (select fold_seq, (status = 'COMPLETED')::int::float8 as dependable, (status <> 'COMPLETED')::int::float8 as undependable, finished_at as at from runs where ${page})
      union all
      (select fold_seq, dependable, undependable, at from trust_adjustments where ${page})
      order by fold_seq desc limit ${limit}
    ) latest order by fold_seq`;
  return rows.map((row) => ({ ...row, at: row.at.getTime() }));
}

/** Which piece was the last one at a moment; undefined where there was none. */
export async function findFoldAt(
  sql: Sql,
  { agentId, capability, at }: { agentId: string; capability: string; at: Date },
): Promise<number | undefined> {
  const [row] = await sql<{ fold_seq: number | null }[]>`
    select greatest(
      (select fold_seq from runs where agent_id = ${agentId} and capability = ${capability} and fold_seq is not null and finished_at <= ${at}
        order by finished_at desc, fold_seq desc limit 1),
      (select max(fold_seq) from trust_adjustments where agent_id = ${agentId} and capability = ${capability} and at <= ${at})
    )::float8 as fold_seq`;
  return row?.fold_seq ?? undefined;
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
  const dependability = (d: string, u: string) => sql.unsafe(`'dependability', (1 + ${d}) / (2 + ${d} + ${u})`);
  const [d, u] = ['dependable', 'undependable'].map(
    (count) => `coalesce((select ${faded(count, 'updated_at', '(select now from clock)')} from was), 0)`,
  ) as [string, string];
  const rows = await transition(sql, {
    before: {
      // Locked, so that it is what was folded on.
      was: sql`select dependable, undependable, updated_at from trust where agent_id = ${agentId} and capability = ${capability} for no key update`,
      folded: sql`
        insert into trust as t (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
        select agent_id, ${capability}::text, ${dependable}::float8, ${undependable}::float8, 0, 0, 0, 0, 1, (select now from clock)
        from agents where agent_id = ${agentId} and (select count(*) from was) >= 0
        ${sql.unsafe(ADDED)}
        returning agent_id, capability, dependable, undependable, fold_seq`,
    },
    change: sql`
      select f.agent_id as subject_id, a.owner, jsonb_build_object('capability', f.capability, 'delta', ${delta}::float8) as detail,
        jsonb_build_object('capability', f.capability, ${dependability(d, u)}) as before,
        jsonb_build_object('capability', f.capability, ${dependability('f.dependable', 'f.undependable')}, 'reason', ${reason}::text) as after
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
  { agentId, capability, replayed }: { agentId: string; capability: string; replayed: Folded },
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
