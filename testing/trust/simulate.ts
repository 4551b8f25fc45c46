import { DEFAULTS } from '@muster/server/trust/parameters';
import { believing, boincAdaptive, fixedQuorum, isWrong, type Scheme } from './baselines.ts';
import { Muster } from './muster.ts';
import type { Population } from './population.ts';
import { type Task, World } from './world.ts';

export const SCHEMES = {
  none: believing,
  'quorum-2': fixedQuorum,
  'BOINC adaptive': boincAdaptive,
  Muster: (world: World, { settings }: Population): Scheme => new Muster(world, { ...DEFAULTS, ...settings }),
} as const;
export type SchemeName = keyof typeof SCHEMES;

/** What a simulation came to. Percentages are of all tasks; `work` is executions per task, `steady_work` in the second half. */
export interface Outcome {
  wrong_percent: number;
  exposed_percent: number;
  disputed_percent: number;
  work: number;
  steady_work: number;
  bad: number;
  caught: number;
  /** Runs of a caught agent from its first wrong answer to the loss of its work: the median. */
  runs_to_catch: number | null;
  falsely_quarantined_percent: number;
  runs_to_trust: number | null;
}

const HOUR_MS = 3_600_000;

/** Plays a population under a scheme. The same seed gives the same outcome. `onProgress` hears the share that is done. */
export function simulate(
  population: Population,
  scheme: SchemeName,
  seed: number,
  onProgress: (share: number) => void = () => {},
): Outcome {
  const world = new World(population, seed);
  const played = SCHEMES[scheme](world, population);
  const tasks: Task[] = [];
  let exposed = 0;
  let half = 0;
  for (let id = 0; id < population.tasks; id += 1) {
    if (id === Math.floor(population.tasks / 2)) half = world.executions;
    if (id % 10_000 === 0) onProgress(id / population.tasks);
    world.now = (id / population.tasks_per_hour) * HOUR_MS;
    const task: Task = { id, votes: [], answer: undefined };
    played.settle(task);
    if (isWrong(task)) exposed += 1;
    tasks.push(task);
  }
  return { ...outcomeOf(world, tasks, half), exposed_percent: (100 * exposed) / tasks.length };
}

function outcomeOf(world: World, tasks: readonly Task[], half: number): Omit<Outcome, 'exposed_percent'> {
  const percentOf = (part: number, whole: number) => (whole === 0 ? 0 : (100 * part) / whole);
  const bad = world.workers.filter((worker) => worker.bad);
  const honest = world.workers.filter((worker) => !worker.bad);
  const caught = bad.filter(({ caught_at }) => caught_at !== undefined);
  return {
    wrong_percent: percentOf(tasks.filter(isWrong).length, tasks.length),
    disputed_percent: percentOf(tasks.filter(({ answer }) => answer === undefined).length, tasks.length),
    work: world.executions / tasks.length,
    steady_work: (world.executions - half) / (tasks.length - Math.floor(tasks.length / 2)),
    bad: bad.length,
    caught: caught.length,
    runs_to_catch: median(caught.map(({ caught_at, first_wrong_at }) => caught_at! - first_wrong_at!)),
    falsely_quarantined_percent: percentOf(
      honest.filter(({ caught_at }) => caught_at !== undefined).length,
      honest.length,
    ),
    runs_to_trust: median(honest.flatMap(({ trusted_at }) => trusted_at ?? [])),
  };
}

export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return null;
  return Number.isInteger(middle) ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[Math.floor(middle)]!;
}
