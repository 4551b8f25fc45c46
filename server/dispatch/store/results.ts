import { arrayLiteral, type Sql } from '../../platform/database.ts';
import { END_RUNS, RELEASE_SLOTS } from './end-runs.ts';

/** A run's end as its agent tells it. `result_data` and `error` are JSON text. */
export interface NewResult {
  agent_id: string;
  /** The life that says so: what the agent holds is its current one's. */
  boot_id: string;
  fence: number;
  status: string;
  fault: string | null;
  retryable: boolean;
  result_data: string | null;
  error: string | null;
}

export interface AppliedResult {
  fence: number;
  agent_id: string;
  boot_id: string;
  next: 'final' | 'ready' | 'delayed' | 'none';
  run_status: string;
  class_id: number;
  /** Its task has ended, and others waited for that. */
  awaited: boolean;
}

/**
 * Applies results whose lease is still held by the life that reports them. Agents are locked first, by id, then their leases
 * go. The ownership guard is a hashed subplan and not a join, which the planner could turn round and scan the table for
 * (reference: 163 us a row instead of 9).
 */
const APPLY = `
with clock as materialized (select muster_now() as now),
x as materialized (
  select * from unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[], $5::text::boolean[], $6::text::text[], $7::text::text[],
    $8::text::text[])
  with ordinality as x(agent_id, fence, status, fault, retryable, result_data, error, boot_id, ord)
),
locked as materialized (
  select agent_id, boot_id from agents where agent_id = any(array(select distinct agent_id from x)) order by agent_id for no key update
),
own as materialized (select * from x where ((agent_id, boot_id) in (select agent_id, boot_id from locked)) is true),
gone as (
  delete from leases l
  where l.fence = any($2::text::bigint[]) and ((l.fence, l.agent_id) in (select fence, agent_id from own)) is true
  returning l.*
),
ended as materialized (
  select g.fence, g.task_id, g.replica, g.agent_id, g.class_id, g.capability, g.attempt, g.failures, g.assigned_at, g.started_at, g.progress, g.slot_cost,
    g.cancel_requested_at, x.boot_id, x.status, x.fault, x.retryable, x.result_data::json as result_data, x.error::jsonb as error, x.ord
  from gone g join own x on x.fence = g.fence and x.agent_id = g.agent_id
),
${END_RUNS},
${RELEASE_SLOTS}
select fence, agent_id, boot_id, next, run_status, class_id, next in ('final', 'none') and (has_dependents or concurrency_key is not null) as awaited from judged`;

export async function applyResults(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {
  const column = <K extends keyof NewResult>(name: K) => arrayLiteral(results.map((result) => result[name]));
  const rows = await hot.unsafe<(Omit<AppliedResult, 'fence' | 'class_id'> & { fence: string; class_id: string })[]>(
    APPLY,
    [
      column('agent_id'),
      column('fence'),
      column('status'),
      column('fault'),
      column('retryable'),
      column('result_data'),
      column('error'),
      column('boot_id'),
    ],
    { prepare: true },
  );
  return rows.map((row) => ({ ...row, fence: Number(row.fence), class_id: Number(row.class_id) }));
}

/** How runs ended that no lease is held of any more: read with a snapshot of its own, after the guard said no. */
export async function findEndedRuns(
  hot: Sql,
  fences: readonly number[],
): Promise<Map<number, { agent_id: string; status: string; fault: string | null }>> {
  const rows = await hot.unsafe<{ fence: string; agent_id: string; status: string; fault: string | null }[]>(
    'select fence, agent_id, status, fault from runs where fence = any($1::text::bigint[])',
    [arrayLiteral(fences)],
    { prepare: true },
  );
  return new Map(rows.map((row) => [Number(row.fence), row]));
}

/** The status of the task a run belonged to. */
export async function findTaskStatus(hot: Sql, fence: number): Promise<string | undefined> {
  const rows = await hot.unsafe<{ status: string }[]>(
    'select s.status from runs r cross join lateral (select status from task_state where task_id = r.task_id offset 0) s where r.fence = $1::bigint',
    [String(fence)],
    { prepare: true },
  );
  return rows[0]?.status;
}
