import type { Standing } from '@muster/shared/lifecycle';
import { arrayLiteral, type Sql } from '../../platform/database.ts';
import type { ShownIn } from '../../trust/shown.ts';
import type { Candidate } from '../match.ts';

/** An agent as matching and routing see it. */
export interface CandidateRow extends Candidate {
  agent_id: string;
  /** How long it took lately for each run it completed, by capability; infinite where it completed none. */
  response_ms: ReadonlyMap<string, number>;
}

/** What has to be read of an agent `a` to see it so, at the `now` of a `clock`; arrays as JSON, which every pool reads alike. */
export const CANDIDATE = `a.agent_id, a.owner, a.serves, array_to_json(a.capabilities)::text as capabilities, a.labels, a.slots, (
    select json_agg(json_build_array(capability, dependable, undependable, "right", wrong, standing)) from (
      select capability, sum(dependable) as dependable, sum(undependable) as undependable, sum("right") as "right", sum(wrong) as wrong, max(standing) as standing
      from trust_at(clock.now) t where t.agent_id = a.agent_id group by capability
    ) s
  )::text as shown`;

/** The same, as it comes. */
export type CandidateText = Omit<CandidateRow, 'capabilities' | 'shown' | 'response_ms'> & {
  capabilities: string;
  shown: string | null;
};

/** Most newcomers share it. */
const NONE: ReadonlyMap<string, never> = new Map<string, never>();

export const candidateOf = <T extends CandidateText>(row: T, response_ms: CandidateRow['response_ms'] = NONE) => ({
  ...row,
  capabilities: JSON.parse(row.capabilities) as string[],
  shown: shownOf(row.shown),
  response_ms,
});

/** As it has faded till now; of whom nobody ever looked at the standing is null. */
type Piece = [string, number, number, number, number, Standing | null];

function shownOf(text: string | null): ShownIn {
  if (text === null) return NONE;
  return new Map(
    (JSON.parse(text) as Piece[]).map(([capability, dependable, undependable, right, wrong, standing]) => [
      capability,
      { dependable, undependable, right, wrong, standing: standing ?? 'NEWCOMER' },
    ]),
  );
}

/** How far back the runs of an agent tell how fast it is. */
const LATELY = { runs: 50, interval: '1 hour' };

/** What became of an agent's runs by its own doing, and how long they took, fails included: for each that it completed. */
const RESPONSE_MS = `
  select a.agent_id, r.capability, sum(extract(epoch from r.finished_at - r.assigned_at) * 1000)::float8 / nullif(count(*) filter (where r.status = 'COMPLETED'), 0) as ms
  from unnest($1::text::text[]) as a(agent_id) cross join lateral (
    select capability, status, assigned_at, finished_at, fold_seq from runs
    where runs.agent_id = a.agent_id and finished_at > (select muster_now()) - interval '${LATELY.interval}' order by finished_at desc limit ${LATELY.runs}
  ) r where r.fold_seq is not null group by 1, 2`;

export async function findResponseTimes(
  sql: Sql,
  agentIds: readonly string[],
): Promise<Map<string, Map<string, number>>> {
  const rows = await sql.unsafe<{ agent_id: string; capability: string; ms: number | null }[]>(
    RESPONSE_MS,
    [arrayLiteral(agentIds)],
    { prepare: true },
  );
  const times = new Map<string, Map<string, number>>();
  for (const { agent_id, capability, ms } of rows)
    times.set(agent_id, (times.get(agent_id) ?? new Map()).set(capability, ms ?? Number.POSITIVE_INFINITY));
  return times;
}

/** Agents by id. `timed`: with how long they took. */
export async function findCandidates(
  hot: Sql,
  agentIds: readonly string[],
  timed = false,
): Promise<Map<string, CandidateRow>> {
  const [rows, times] = await Promise.all([
    hot.unsafe<CandidateText[]>(
      `select ${CANDIDATE} from agents a, (select muster_now() as now) clock where a.agent_id = any($1::text::text[])`,
      [arrayLiteral(agentIds)],
      { prepare: true },
    ),
    timed ? findResponseTimes(hot, agentIds) : undefined,
  ]);
  return new Map(rows.map((row) => [row.agent_id, candidateOf(row, times?.get(row.agent_id))]));
}
