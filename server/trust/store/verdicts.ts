import type { Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import type { Verdict } from '../model.ts';
import { DEFAULTS } from '../parameters.ts';

/** What was found of a run. `kind` is what found it (`quorum`, `judge`, `audit`, `canary`, `look_back` …), `judge` who: agents by id and comma, or what. */
export interface NewVerdict {
  fence: number;
  kind: string;
  task_id: string;
  agent_id: string;
  capability: string;
  found: Verdict['found'];
  /** Someone trusted says so; only of what is right does it matter. */
  vouched: boolean;
  judge: string;
}

const COLUMNS = 'fence, kind, task_id, agent_id, capability, found, vouched, judge';

/**
 * Records verdicts inside the statement that decides, which has a CTE `clock`: `from` gives the columns of `NewVerdict`. Of a run there is one
 * of each kind, and the first stays. They move nothing before they are folded (`foldVerdicts`).
 */
export const recordVerdicts = (from: string): string => `
  insert into verdicts (${COLUMNS}, weight, at)
  select ${COLUMNS}, case when found <> 'RIGHT' then ${DEFAULTS.refuted_weight} when vouched then ${DEFAULTS.vouched_weight} else ${DEFAULTS.unvouched_weight} end,
    (select now from clock)
  from ${from} order by fence, kind
  on conflict (fence, kind) do nothing`;

const RECORD = `
with clock as materialized (select muster_now() as now),
recorded as (
  ${recordVerdicts(`jsonb_to_recordset($1::text::jsonb) as x(fence bigint, kind text, task_id text, agent_id text, capability text, found text, vouched boolean, judge text)`)}
  returning 1
)
select count(*)::int as n from recorded`;

/** Records verdicts by themselves. Answers how many of them are new. */
export async function insertVerdicts(sql: Sql, verdicts: readonly NewVerdict[]): Promise<number> {
  const [row] = await retried(() => sql.unsafe<[{ n: number }]>(RECORD, [JSON.stringify(verdicts)], { prepare: true }));
  return row!.n;
}

/** Whether a verdict waits to be folded. */
export const TO_FOLD = 'exists (select from verdicts where fold_seq is null)';

/** A row of the ledger as it was folded: a verdict, or a word (`found` null). */
export interface LedgerRow {
  fold_seq: number;
  kind: string;
  found: Verdict['found'] | null;
  vouched: boolean | null;
  weight: number | null;
  at: number;
}

/** The ledger of (agent, capability), newest first, back to a moment and one row further. */
export async function listLedger(
  sql: Sql,
  {
    agent_id,
    capability,
    upTo,
    since = 0,
    limit,
  }: { agent_id: string; capability: string; upTo: number; since?: number; limit: number },
): Promise<LedgerRow[]> {
  const rows = await sql<(Omit<LedgerRow, 'at'> & { at: Date })[]>`
    select fold_seq::float8 as fold_seq, kind, found, vouched, weight, at from verdicts
    where agent_id = ${agent_id} and capability = ${capability} and fold_seq <= ${upTo} and fold_seq >= coalesce((
      select max(fold_seq) from verdicts where agent_id = ${agent_id} and capability = ${capability} and fold_seq is not null and at < ${new Date(since)}), 0)
    order by fold_seq desc limit ${limit}`;
  return rows.map((row) => ({ ...row, at: row.at.getTime() }));
}
