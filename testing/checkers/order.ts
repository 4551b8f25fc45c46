import { type Call, type Claimed, callsOf, type Finding, isOk, type Reported } from '../checkers.ts';
import type { Entry } from '../history.ts';

/** A run as it was first handed out: when its agent was told of it, and when that first said how it ended and was not refused. */
interface Run {
  task_id: string;
  fence: number;
  attempt: number;
  agent: string;
  told: number;
  ended: number | undefined;
}

/** All runs, by their fences. */
function runsOf(entries: readonly Entry[]): Run[] {
  const runs = new Map<number, Run>();
  for (const { ended } of callsOf(entries, 'poll').filter(isOk))
    for (const { task_id, fence, attempt } of (ended!.value as Claimed).runs) {
      const known = runs.get(fence);
      if (known && known.told <= ended!.at) continue;
      runs.set(fence, { task_id, fence, attempt, agent: ended!.process, told: ended!.at, ended: undefined });
    }
  for (const { asked, ended } of callsOf(entries, 'result')) {
    // Who is told that it is another's by now has not ended it.
    if (ended?.value === 'stale-lease') continue;
    const run = runs.get((asked.value as Reported).fence);
    if (run?.agent === asked.process) run.ended = Math.min(run.ended ?? asked.at, asked.at);
  }
  return [...runs.values()].sort((a, b) => a.fence - b.fence);
}

const isApplied = ({ ended }: Call): boolean => ended?.phase === 'ok' && (ended.value as { applied: boolean }).applied;

/** The values of each key, in their order. */
function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** I4: what is said of a run after a later one of its task was handed out does not count. As many such words are counted as checked. */
export function checkFences(entries: readonly Entry[]): Finding {
  const byTask = grouped(runsOf(entries), ({ task_id }) => task_id);
  const broken: string[] = [];
  let checked = 0;
  for (const call of callsOf(entries, 'result')) {
    const { task_id, fence } = call.asked.value as Reported;
    const later = byTask.get(task_id)?.find((run) => run.fence > fence && run.told < call.asked.at);
    if (!later) continue;
    checked += 1;
    if (isApplied(call))
      broken.push(`the result of run ${fence} of ${task_id} counted after run ${later.fence} was handed out`);
  }
  return { promise: 'the word of a run that is over does not count', checked, broken };
}

/** I19, I24, I25, I26: nothing is taken from an agent that is there. A task is handed out again only when its agent said how the run ended, or is one of the `silent`. */
export function checkReruns(
  entries: readonly Entry[],
  { silent = new Set() }: { silent?: ReadonlySet<string> } = {},
): Finding {
  const runs = runsOf(entries);
  const broken = [...grouped(runs, ({ task_id }) => task_id)].flatMap(([task_id, of]) =>
    of.slice(1).flatMap((run, n) => {
      const before = of[n]!;
      if (silent.has(before.agent) || (before.ended ?? Number.POSITIVE_INFINITY) < run.told) return [];
      return [
        `${task_id} was handed to ${run.agent} as run ${run.fence} while ${before.agent} had run ${before.fence}`,
      ];
    }),
  );
  return { promise: 'nothing is taken from an agent that is there', checked: runs.length, broken };
}

/** I12: a task is handed out when all that it needs has been completed. `needs`: by task. */
export function checkNeeds(entries: readonly Entry[], needs: ReadonlyMap<string, readonly string[]>): Finding {
  const completed = new Map<string, number>();
  for (const { asked } of callsOf(entries, 'result')) {
    const { task_id, outcome } = asked.value as Reported;
    // Whether it was answered or not: it was not completed before somebody said so.
    if (outcome === 'COMPLETED' && !completed.has(task_id)) completed.set(task_id, asked.at);
  }
  const bound = runsOf(entries).filter(({ task_id }) => needs.has(task_id));
  const broken = bound.flatMap(({ task_id, fence, told }) =>
    needs
      .get(task_id)!
      .filter((need) => (completed.get(need) ?? Number.POSITIVE_INFINITY) > told)
      .map((need) => `run ${fence} of ${task_id} was handed out before ${need} was completed`),
  );
  return { promise: 'what is needed comes first', checked: bound.length, broken };
}

/** I11: of each key no more run at once than may. Runs count from when their agent knew of them until it said that they ended: those that run beyond any doubt. */
export function checkCaps(
  entries: readonly Entry[],
  {
    keysOf,
    most,
  }: { keysOf: (run: { task_id: string; agent: string }) => readonly string[]; most: (key: string) => number },
): Finding {
  const runs = runsOf(entries).filter(({ ended }) => ended !== undefined);
  const steps = runs.flatMap((run) => [
    { at: run.told, by: 1, run },
    { at: run.ended!, by: -1, run },
  ]);
  // One that ends in the moment another begins has made room for it.
  steps.sort((a, b) => a.at - b.at || a.by - b.by);
  const held = new Map<string, number>();
  const broken: string[] = [];
  for (const { by, run } of steps)
    for (const key of keysOf(run)) {
      const now = (held.get(key) ?? 0) + by;
      held.set(key, now);
      if (by > 0 && now > most(key)) broken.push(`with run ${run.fence} there were ${now} of ${most(key)} of ${key}`);
    }
  return { promise: 'no more run at once than may', checked: runs.length, broken };
}
