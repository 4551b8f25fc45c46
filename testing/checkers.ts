import type { Entry } from './history.ts';

/** What a checker found: how many operations it looked at, and what of them broke the promise, in words. */
export interface Finding {
  promise: string;
  checked: number;
  broken: string[];
}

/** A call with what became of it; without a word of that it may have been done or not. */
export interface Call {
  op: string;
  asked: Entry;
  ended: Entry | undefined;
}

/** The calls of a kind, in the order in which they were made. */
export function callsOf(entries: readonly Entry[], op: string): Call[] {
  const calls = new Map<number, Call>();
  for (const entry of entries) {
    if (entry.op !== op) continue;
    const call = calls.get(entry.call);
    if (entry.phase === 'invoke') calls.set(entry.call, { op, asked: entry, ended: undefined });
    else if (call) call.ended = entry;
    else throw new Error(`call ${entry.call} of the history ended without having begun`);
  }
  return [...calls.values()];
}

export const isOk = ({ ended }: Call): boolean => ended?.phase === 'ok';

export interface Submitted {
  task_id: string;
}
/** What is asked of a task: `verified` where others check what it is answered. */
interface Submit {
  verified?: boolean;
}
export interface Reported {
  task_id: string;
  fence: number;
  outcome: string;
}
export interface Claimed {
  runs: { task_id: string; fence: number; attempt: number }[];
}

/** I1: what was acknowledged is there, and has ended. `statuses`: of the tasks there are at the end, by id. */
export function checkSubmits(
  entries: readonly Entry[],
  statuses: ReadonlyMap<string, string>,
  ended: ReadonlySet<string> = new Set(['COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'EXPIRED', 'SKIPPED']),
): Finding {
  const acknowledged = callsOf(entries, 'submit').filter(isOk);
  const broken = acknowledged.flatMap(({ ended: answer }) => {
    const { task_id } = answer!.value as Submitted;
    const status = statuses.get(task_id);
    if (status === undefined) return [`${task_id} was acknowledged and is lost`];
    return ended.has(status) ? [] : [`${task_id} is still ${status}`];
  });
  return { promise: 'what was acknowledged is done', checked: acknowledged.length, broken };
}

/** The tasks that others check: of these there are more runs. */
const verifiedOf = (entries: readonly Entry[]): ReadonlySet<string> =>
  new Set(
    callsOf(entries, 'submit')
      .filter((call) => isOk(call) && (call.asked.value as Submit).verified)
      .map(({ ended }) => (ended!.value as Submitted).task_id),
  );

/** I3: a run is handed to one agent, and every claim of a task that nobody checks has a higher fence and attempt than those before. */
export function checkClaims(entries: readonly Entry[]): Finding {
  const holder = new Map<number, string>();
  const last = new Map<string, { fence: number; attempt: number }>();
  const verified = verifiedOf(entries);
  const broken: string[] = [];
  let checked = 0;
  const runs = callsOf(entries, 'poll')
    .filter(isOk)
    .flatMap(({ ended }) => (ended!.value as Claimed).runs.map((run) => ({ ...run, agent: ended!.process })))
    .sort((a, b) => a.fence - b.fence);
  for (const { task_id, fence, attempt, agent } of runs) {
    checked += 1;
    const other = holder.get(fence);
    // The same agent is told again of what it was leased and does not name.
    if (other === agent) continue;
    if (other !== undefined) broken.push(`run ${fence} was handed to ${other} and to ${agent}`);
    holder.set(fence, agent);
    if (verified.has(task_id)) continue;
    const before = last.get(task_id);
    if (before && attempt <= before.attempt)
      broken.push(
        `${task_id} was handed out as attempt ${attempt} (fence ${fence}) after ${before.attempt} (fence ${before.fence})`,
      );
    last.set(task_id, { fence, attempt });
  }
  return { promise: 'a run has one holder, and fences rise', checked, broken };
}

/** I5: of all the results of a run one is applied, and of all the runs of a task that nobody checks one completes it. */
export function checkResults(entries: readonly Entry[]): Finding {
  const applied = new Set<number>();
  const completed = new Map<string, number>();
  const verified = verifiedOf(entries);
  const broken: string[] = [];
  const answered = callsOf(entries, 'result').filter(isOk);
  for (const { asked, ended } of answered) {
    if (!(ended!.value as { applied: boolean }).applied) continue;
    const { task_id, fence, outcome } = asked.value as Reported;
    if (applied.has(fence)) broken.push(`the result of run ${fence} was applied twice`);
    applied.add(fence);
    if (outcome !== 'COMPLETED' || verified.has(task_id)) continue;
    if (completed.has(task_id))
      broken.push(`${task_id} was completed by run ${completed.get(task_id)} and by run ${fence}`);
    completed.set(task_id, fence);
  }
  return { promise: 'a result is applied once', checked: answered.length, broken };
}

/** I10: no success is applied to a task whose cancel was acknowledged. */
export function checkCancels(entries: readonly Entry[]): Finding {
  const cancelled = new Set(
    callsOf(entries, 'cancel')
      .filter(isOk)
      .map(({ ended }) => (ended!.value as Submitted).task_id),
  );
  const broken = callsOf(entries, 'result').flatMap(({ asked, ended }) => {
    const { task_id, fence, outcome } = asked.value as Reported;
    const applied = ended?.phase === 'ok' && (ended.value as { applied: boolean }).applied;
    return applied && outcome === 'COMPLETED' && cancelled.has(task_id)
      ? [`${task_id} was cancelled, and completed by run ${fence}`]
      : [];
  });
  return { promise: 'what is cancelled is never completed', checked: cancelled.size, broken };
}

/** Throws where a promise was broken, or where so little was checked that keeping it means nothing. */
export function assertFindings(findings: readonly Finding[], { minimum = 1 }: { minimum?: number } = {}): void {
  const wrong = findings.flatMap(({ promise, checked, broken }) => [
    ...broken.map((what) => `${promise}: ${what}`),
    ...(checked < minimum
      ? [`${promise}: only ${checked} operations were checked, at least ${minimum} were to be`]
      : []),
  ]);
  if (wrong.length > 0)
    throw new Error(wrong.slice(0, 20).join('\n') + (wrong.length > 20 ? `\n… and ${wrong.length - 20} more` : ''));
}
