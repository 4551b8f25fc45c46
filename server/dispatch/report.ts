import type { Result } from '@muster/shared/contract/dispatch';
import { ProblemError } from '@muster/shared/errors';
import { fenceOf } from '@muster/shared/ids';
import type { Outcome, TaskStatus } from '@muster/shared/lifecycle';
import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import { isDataError } from '../platform/storage-errors.ts';
import { unblock } from '../tasks/unblock.ts';
import type { Verifier } from './claim.ts';
import { type AppliedResult, applyResults, findEndedRuns, findTaskStatus, type NewResult } from './store/results.ts';

/** What became of a reported result. `code` says why it was not applied; a replay of what was applied before has none. */
export interface Verdict {
  applied: boolean;
  code?: 'stale-lease' | 'task-terminal';
  task_status?: TaskStatus;
}

/** Who reports: one life of an agent. */
export type Life = Pick<NewResult, 'agent_id' | 'boot_id'>;

export interface Reporter {
  report(life: Life, results: readonly Result[]): Promise<Verdict[]>;
}

/** Postgres's cost of a result grows with its size: a batch holds so many bytes of JSON, or one result. */
const BATCH_BYTES = 4_000_000;
const weight = (results: NewResult[]) =>
  results.reduce((sum, { result_data }) => sum + BATCH_BYTES / 1_000 + (result_data?.length ?? 0), 0);

/** The same result twice in one batch would count twice: the first speaks for both. Anybody may name any fence, so one of another life is another result. */
function distinct(results: readonly NewResult[]): NewResult[] {
  if (new Set(results.map(({ fence }) => fence)).size === results.length) return [...results];
  const seen = new Map<string, NewResult>();
  for (const result of results) {
    const key = `${result.fence} ${result.agent_id} ${result.boot_id}`;
    if (!seen.has(key)) seen.set(key, result);
  }
  return [...seen.values()];
}

export function createReporter(
  { db, notifier }: Pick<Deps, 'db' | 'notifier'>,
  { reported }: Pick<Verifier, 'reported'>,
): Reporter {
  const applyAll = async (results: NewResult[]): Promise<Verdict[]> => {
    const given = distinct(results).sort((a, b) => a.fence - b.fence);
    const applied = await applyResults(db.hot, given);
    notifier.tell(
      'ready',
      applied.filter((it) => it.next === 'ready').map((it) => it.class_id),
    );
    // At once; the loops do so in any case.
    if (applied.some((it) => it.verified)) reported();
    if (applied.some((it) => it.awaited)) void unblock({ db, notifier }).catch(() => {});
    return verdicts(results, new Map(applied.map((it) => [given[it.position]!, it])));
  };

  const verdicts = async (results: NewResult[], applied: Map<NewResult, AppliedResult>): Promise<Verdict[]> => {
    const open = results.filter((result) => !applied.has(result));
    const ended = open.length
      ? await findEndedRuns(db.hot, [...new Set(open.map((result) => result.fence))])
      : new Map();
    return results.map((result) => {
      const it = applied.get(result);
      return it ? appliedVerdict(result, it) : lateVerdict(result, ended.get(result.fence));
    });
  };

  /** A poll's results stay together: one wait for all of them. */
  const apply = createBatcher(
    async (polls: NewResult[][]) => {
      const all = (await applyAll(polls.flat())).values();
      return polls.map((poll) => poll.map(() => all.next().value!));
    },
    { maxItems: BATCH_BYTES, weight },
  );
  return {
    async report(life, results) {
      const rows = results.map((result) => toRow(life, result));
      try {
        return await apply(rows);
      } catch (error) {
        if (rows.length < 2 || !isDataError(error)) throw error;
        // One of them holds what Postgres will not take: the others are applied all the same.
        return (await Promise.all(rows.map((row) => apply([row])))).flat();
      }
    },
  };
}

/** Reports one run's result; a word that comes too late is a 409. */
export async function reportResult(
  { db, reporter }: { db: Deps['db']; reporter: Reporter },
  life: Life,
  result: Result,
) {
  const [verdict] = await reporter.report(life, [result]);
  if (verdict?.code === 'task-terminal')
    throw new ProblemError('task-terminal', `the task of run ${result.run_id} was cancelled`);
  if (verdict?.code) throw staleLease(result.run_id, result.fence);
  const status = verdict?.task_status ?? ((await findTaskStatus(db.hot, result.fence)) as TaskStatus);
  return { applied: verdict!.applied, task_status: status };
}

export const staleLease = (runId: string, fence: number): ProblemError =>
  new ProblemError('stale-lease', `run ${runId} with fence ${fence} is not leased to this agent any more`);

function toRow({ agent_id, boot_id }: Life, { run_id, fence, outcome, result_data, error, usage }: Result): NewResult {
  return {
    agent_id,
    boot_id,
    // A fence that belongs to another run than the one named holds nothing.
    fence: fenceOf(run_id) === fence ? fence : 0,
    status: outcome,
    // Whose fault a failure was is the agent's to say; a timeout is its own.
    fault: outcome === 'FAILED' ? (error?.fault ?? 'agent') : outcome === 'TIMED_OUT' ? 'agent' : null,
    retryable: error?.retryable ?? true,
    result_data: result_data === undefined ? null : JSON.stringify(result_data),
    error: error ? JSON.stringify(error) : null,
    usage: usage ? JSON.stringify(usage) : null,
  };
}

function appliedVerdict(result: NewResult, { next, run_status, verified }: AppliedResult): Verdict {
  // The task had been cancelled: only the acknowledgement of that is what the agent may still say.
  if (next === 'none')
    return result.status === 'CANCELLED'
      ? { applied: true, task_status: 'CANCELLED' }
      : { applied: false, code: 'task-terminal' };
  // Whether an answer is checked, and by whom, is not for its agent to know.
  if (verified && run_status === 'COMPLETED') return { applied: true, task_status: 'VERIFYING' };
  return { applied: true, task_status: next === 'final' ? (run_status as TaskStatus) : 'PENDING' };
}

function lateVerdict(
  result: NewResult,
  run: { agent_id: string; status: string; fault: string | null } | undefined,
): Verdict {
  if (!run || run.agent_id !== result.agent_id || run.status === 'LOST') return { applied: false, code: 'stale-lease' };
  if (run.status === 'CANCELLED')
    return result.status === 'CANCELLED' ? { applied: false } : { applied: false, code: 'task-terminal' };
  const said =
    (run.status as Outcome) === result.status || (run.status === 'RETURNED' && result.status === 'CANCELLED');
  return said ? { applied: false } : { applied: false, code: 'stale-lease' };
}
