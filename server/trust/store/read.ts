import type { RunStatus, Standing } from '@muster/shared/lifecycle';
import { SCORE, WORST } from '../../agents/store/score.ts';
import type { Fragment, Sql } from '../../platform/database.ts';
import type { Checked, Evidence } from '../score.ts';

const SUMS = `sum(dependable) as dependable, sum(undependable) as undependable, sum(completed)::int as completed, sum(failed)::int as failed, sum(timed_out)::int as timed_out,
  sum(lost)::int as lost, sum("right") as right, sum(wrong) as wrong`;

/** What is known of an agent in a capability, as it has faded to now: a sum of rows of `trust_at`. */
export interface TrustRow extends Evidence, Checked {
  capability: string;
  completed: number;
  failed: number;
  timed_out: number;
  lost: number;
  standing: Standing;
  /** Whether others found anything, or an admin said something that still holds. */
  looked: boolean;
  quarantined_until: Date | null;
  last_evidence_at: Date;
}

/** What an agent has shown, per capability (`*` is what an admin said of all); undefined where the agent does not exist. */
export async function findTrust(sql: Sql, agentId: string): Promise<TrustRow[] | undefined> {
  const rows = await sql<(TrustRow | { capability: null })[]>`
    select t.* from agents a left join (
      select agent_id, capability, ${sql.unsafe(SUMS)}, coalesce(max(standing), 'NEWCOMER') as standing, max(quarantined_until) as quarantined_until,
        bool_or(standing is not null) as looked, max(updated_at) as last_evidence_at
      from (select muster_now() as now) clock, trust_at(now) where agent_id = ${agentId} group by 1, 2
    ) t on t.agent_id = a.agent_id where a.agent_id = ${agentId} order by t.capability`;
  return rows.length === 0 ? undefined : rows.filter((row): row is TrustRow => row.capability !== null);
}

/** A piece of evidence: a run, what an admin or time says, or what others found of a run. */
export interface EvidenceRow {
  /** Null where it is no run. */
  fence: string | null;
  task_id: string | null;
  capability: string;
  /** How a run ended, what others found of it, or how a standing moved. */
  outcome:
    | RunStatus
    | 'ADJUSTED'
    | 'RIGHT'
    | 'WRONG'
    | 'COLLUDED'
    | 'promote'
    | 'refute'
    | 'quarantine'
    | 'ban'
    | 'release'
    | 'return';
  fault: string | null;
  /** What an error or an admin said. */
  message: string | null;
  delta: number | null;
  /** Of a verdict: who found it, and how. */
  judge: string | null;
  kind: string | null;
  /** 0: folded into dependability; 1: into integrity. */
  ledger: 0 | 1;
  fold_seq: string;
  at: Date;
}

const VERDICT = `fence, task_id, capability, coalesce(found, kind) as outcome, null as fault, reason as message, null::float8 as delta, judge, kind, 1 as ledger, fold_seq, at`;

/** An agent's evidence, newest first, from a position (at, capability, ledger, fold_seq) on. */
export async function listEvidence(
  sql: Sql,
  {
    agentId,
    capability,
    after,
    limit,
  }: { agentId: string; capability: string | undefined; after: readonly string[] | undefined; limit: number },
): Promise<EvidenceRow[]> {
  const page = (at: Fragment, ledger: Fragment) => sql`
    agent_id = ${agentId} and fold_seq is not null ${capability ? sql`and capability = ${capability}` : sql``}
      ${after ? sql`and (${at}, capability, ${ledger}, fold_seq) < (${after[0]!}::timestamptz, ${after[1]!}, ${after[2]!}::int, ${after[3]!}::bigint)` : sql``}
    order by ${at} desc, capability desc, fold_seq desc limit ${limit}`;
  return sql<EvidenceRow[]>`
    select * from (
      (select fence, task_id, capability, status as outcome, fault, left(error ->> 'message', 200) as message, null::float8 as delta, null as judge, null as kind,
        0 as ledger, fold_seq, finished_at as at from runs where ${page(sql`finished_at`, sql`0`)})
      union all
      (select null, null, capability, 'ADJUSTED', null, reason, delta, null, null, 0, fold_seq, at from trust_adjustments where ${page(sql`at`, sql`0`)})
      union all
      (select ${sql.unsafe(VERDICT)} from verdicts where ${page(sql`at`, sql`1`)})
    ) evidence order by at desc, capability desc, ledger desc, fold_seq desc limit ${limit}`;
}

/** Of each capability an agent is out of, what put it there: the last that was said or found against it. */
export async function listBlame(sql: Sql, agentId: string): Promise<EvidenceRow[]> {
  return sql<EvidenceRow[]>`
    select b.* from integrity i cross join lateral (
      select ${sql.unsafe(VERDICT)} from verdicts v where v.agent_id = i.agent_id and v.capability = i.capability and v.fold_seq is not null
        and (v.found in ('WRONG', 'COLLUDED') or v.kind in ('quarantine', 'ban')) order by v.fold_seq desc limit 1
    ) b where i.agent_id = ${agentId} and i.standing in ('QUARANTINED', 'BANNED')`;
}

export interface LeaderRow extends Evidence, Checked {
  agent_id: string;
  display_name: string;
  completed: number;
  failed: number;
  timed_out: number;
  lost: number;
  standing: Standing;
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
  const counts = (name: string) => `coalesce(sum(${name}), 0)`;
  const shown = ['dependable', 'undependable', '"right"', 'wrong'].map((name) => `${counts(name)} as ${name}`).join();
  const runs = ['completed', 'failed', 'timed_out', 'lost'].map((name) => `${counts(name)}::int as ${name}`).join();
  return sql<LeaderRow[]>`
    select a.agent_id, a.display_name, ${sql.unsafe(`${shown}, ${runs}, ${WORST} as standing`)}
    from (select muster_now() as now) clock cross join agents a left join lateral trust_at(now) t on t.agent_id = a.agent_id ${capability ? sql`and t.capability in (${capability}, '*')` : sql``}
    where a.mode <> 'REVOKED' ${owner === undefined ? sql`` : sql`and a.owner = ${owner}`}
    group by a.agent_id
    having coalesce(sum(t.completed + t.failed + t.timed_out + t.lost), 0) >= ${minRuns} ${capability ? sql`and bool_or(t.capability = ${capability})` : sql``}
    order by ${sql.unsafe(SCORE)} desc, a.agent_id limit ${limit}`;
}
