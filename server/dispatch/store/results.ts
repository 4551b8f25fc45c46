import { arrayLiteral, numbersOf, type Sql } from '../../platform/database.ts';
import { retried } from '../../platform/retried.ts';
import { COMPLETE_ONE, COMPLETE_SHARED, COMPLETE_SOLE } from './completed.ts';
import { END_RUNS, LIVES, releaseSlots } from './end-runs.ts';

/** A run's end as its agent tells it. `result_data`, `error` and `usage` are JSON text. */
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
  /** Nothing where its agent did not say. */
  usage?: string | null;
}

/** A result that was applied: `position` says which of those given. */
export interface AppliedResult {
  position: number;
  next: 'final' | 'verify' | 'replica' | 'ready' | 'delayed' | 'none';
  run_status: string;
  class_id: number;
  /** Others check what its task is answered. */
  verified: boolean;
  /** Its task has ended, and others waited for that. */
  awaited: boolean;
}

/**
 * The full form. Applies results whose lease is still held by the life that reports them. Agents are locked first, by id, then their leases
 * go. The ownership guard is a hashed subplan and not a join, which the planner could turn round and scan the table for
 * (reference: 163 us a row instead of 9). Lives are named once however many results they bring, and results that ended alike
 * are answered by one row: both cost more than the rest of a result does.
 */
const APPLY = `
with ${LIVES},
own as materialized (
  select x.fence, l.agent_id, x.ord, x.status, x.fault, x.retryable, x.result_data, x.error, x.usage
  from unnest($3::text::int[], $4::text::bigint[], $5::text::text[], $6::text::text[], $7::text::text[], $8::text::text[], $9::text::boolean[], $10::text::text[])
    with ordinality as x(life, fence, result_data, usage, status, fault, retryable, error, ord)
  join lives l on l.life = x.life
),
gone as (
  delete from leases l
  where l.fence = any($4::text::bigint[]) and ((l.fence, l.agent_id) in (select fence, agent_id from own)) is true
  returning l.*
),
ended as (
  select g.fence, g.task_id, g.replica, g.agent_id, g.class_id, g.capability, g.attempt, g.failures, g.assigned_at, g.started_at, g.progress, g.slot_cost,
    g.cancel_requested_at, x.status, x.fault, x.retryable, x.result_data::json as result_data, x.error::jsonb as error, x.usage::jsonb as usage, x.ord
  from gone g join own x on x.fence = g.fence and x.agent_id = g.agent_id
),
${END_RUNS},
${releaseSlots('judged')}
select next, run_status, class_id, verified, next in ('final', 'none') and (has_dependents or concurrency_key is not null) as awaited, array_agg(ord) as ords
from judged group by 1, 2, 3, 4, 5`;

/** A row for results that ended alike: `ords` says which, from 1. */
type AppliedRow = Omit<AppliedResult, 'position' | 'class_id'> & { class_id: string; ords: string };

/** What a short form answers: runs that were applied, by class. */
interface CompletedRow {
  class_id: string;
  fences: string;
}

/**
 * Applies results, in the order of their fences. Where all were completed those that need no more than that are applied by a shorter statement first,
 * and what it left by the full one; which one also tells apart what two lives say of the same run.
 */
export async function applyResults(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {
  if (results.length === 0) return [];
  if (!results.every(isCompleted)) return applyAny(hot, results);
  const completed = await applyCompleted(hot, results);
  if (completed.length === results.length) return completed;
  const done = new Set(completed.map(({ position }) => position));
  const left = [...results.keys()].filter((position) => !done.has(position));
  const rest = left.map((position) => results[position]!);
  // By itself: sent again with the others it would find those applied before.
  const others = await retried(() => applyAny(hot, rest));
  return [...completed, ...others.map((it) => ({ ...it, position: left[it.position]! }))];
}

const isCompleted = ({ status, error, fence }: NewResult, n: number, all: readonly NewResult[]): boolean =>
  status === 'COMPLETED' && error === null && fence !== all[n + 1]?.fence;

async function applyCompleted(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {
  const [{ agent_id, boot_id, fence, result_data, usage }] = results as [NewResult];
  const ask = (text: string, parameters: (string | null)[]) =>
    hot.unsafe<CompletedRow[]>(text, parameters, { prepare: true });
  const rows =
    results.length === 1
      ? await ask(COMPLETE_ONE, [agent_id, boot_id, String(fence), result_data, usage ?? null])
      : results.every((it) => it.agent_id === agent_id && it.boot_id === boot_id)
        ? await ask(COMPLETE_SOLE, [agent_id, boot_id, ...columnsOf(results, COMPLETED)])
        : await ask(COMPLETE_SHARED, [...livesOf(results), ...columnsOf(results, COMPLETED)]);
  const classOf = new Map<number, number>();
  for (const { class_id, fences } of rows) for (const it of numbersOf(fences)) classOf.set(it, Number(class_id));
  return results.flatMap(({ fence }, position): AppliedResult[] => {
    const class_id = classOf.get(fence);
    return class_id === undefined
      ? []
      : [{ position, next: 'final', run_status: 'COMPLETED', class_id, verified: false, awaited: false }];
  });
}

const COMPLETED = ['fence', 'result_data', 'usage'] as const;
const ANY = [...COMPLETED, 'status', 'fault', 'retryable', 'error'] as const;

async function applyAny(hot: Sql, results: readonly NewResult[]): Promise<AppliedResult[]> {
  const rows = await hot.unsafe<AppliedRow[]>(APPLY, [...livesOf(results), ...columnsOf(results, ANY)], {
    prepare: true,
  });
  return rows.flatMap(({ ords, class_id, next, run_status, verified, awaited }) =>
    numbersOf(ords).map((ord) => ({
      position: ord - 1,
      next,
      run_status,
      class_id: Number(class_id),
      verified,
      awaited,
    })),
  );
}

/** The lives that report, agents and boots, and which of them each result is of. */
function livesOf(results: readonly NewResult[]): string[] {
  const lives = new Map<string, { agent_id: string; boot_id: string; life: number }>();
  const lifeOf = ({ agent_id, boot_id }: NewResult) => {
    const key = `${agent_id} ${boot_id}`;
    const known = lives.get(key) ?? { agent_id, boot_id, life: lives.size + 1 };
    if (known.life > lives.size) lives.set(key, known);
    return known.life;
  };
  const life = arrayLiteral(results.map(lifeOf));
  const all = [...lives.values()];
  return [arrayLiteral(all.map((it) => it.agent_id)), arrayLiteral(all.map((it) => it.boot_id)), life];
}

/** The columns that are named. A shorter array is filled up with nulls: one of nobody's values is empty. */
const columnsOf = (results: readonly NewResult[], names: readonly (keyof NewResult)[]): string[] =>
  names.map((name) =>
    results.every((result) => (result[name] ?? null) === null)
      ? '{}'
      : arrayLiteral(results.map((result) => result[name])),
  );

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

/** The status of the task a run belonged to, as its agent is told it: whether and by whom an answer is checked is not for it to know. */
export async function findTaskStatus(hot: Sql, fence: number): Promise<string | undefined> {
  const rows = await hot.unsafe<{ status: string }[]>(
    `select case when s.verification is not null and r.status = 'COMPLETED' then 'VERIFYING' when r.replica <> 0 then 'PENDING' else s.status end as status
     from runs r cross join lateral (select status, verification from task_state where task_id = r.task_id offset 0) s where r.fence = $1::bigint`,
    [String(fence)],
    { prepare: true },
  );
  return rows[0]?.status;
}
