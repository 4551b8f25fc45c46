import { bestFirst, Line } from '@muster/server/dispatch/line';
import { STRATEGIES } from '@muster/server/dispatch/strategies';
import { finished, newcomer, type Trust } from '@muster/server/trust/model';
import { trustScore } from '@muster/server/trust/score';
import { seededRandom } from '../random.ts';

/** Who of those that wait is given a task, the least of these numbers: the coordinator's own strategy, and what it is measured by. */
export const RANKS = {
  random: (_: Trust, random: () => number) => random(),
  'best score': (trust: Trust) => -trustScore(trust, trust),
  trust_weighted: (trust: Trust, random: () => number) =>
    STRATEGIES.trust_weighted.rank({ shown: trust, slots: 1, slots_used: 0, turn: 0, response_ms: undefined }, random),
} as const;
export type Strategy = keyof typeof RANKS;

/** Shares of the agents, and how likely each finishes a task. */
const MIX = [
  [0.6, 0.995],
  [0.25, 0.93],
  [0.1, 0.6],
  [0.05, 0.15],
] as const;
const AGENTS = 50;
const NEWCOMERS = 5;
const DEGRADED = 2;
const DEGRADED_TO = 0.3;
const BEST = 0.995;

/** `first_try_percent` of tasks finish at once; a share of 1 is as many tasks as everybody gets, in the second half. */
export interface Routed {
  first_try_percent: number;
  newcomer_share: number;
  degraded_share: number;
}

interface Agent {
  finishes: number;
  trust: Trust;
  busy_until: number;
  late_tasks: number;
}

/**
 * Tasks come by chance, at `load` of what all agents can do, and take a unit of time on average; each goes to the one of those that
 * wait whom the coordinator would choose, or to the first who is free. Half-way new agents join that are as good as the best, and some of the best degrade.
 */
export function simulateRouting(strategy: Strategy, load: number, tasks: number, seed: number): Routed {
  const random = seededRandom(seed);
  const exponential = () => -Math.log(1 - random());
  const agents = MIX.flatMap(([share, finishes]) =>
    Array.from({ length: Math.round(share * AGENTS) }, () => agent(finishes)),
  );
  const line = new Line<Agent>();
  for (const it of agents) line.add(it);
  let successes = 0;
  let now = 0;
  for (let n = 0; n < tasks; n += 1) {
    if (n === Math.floor(tasks / 2)) for (const it of turn(agents)) line.add(it);
    now += exponential() / (load * agents.length);
    const chosen = choose(line, now, (it) => RANKS[strategy](it.trust, random));
    line.toEnd([chosen]);
    const completed = random() < chosen.finishes;
    // What it will say is known when it says it; so long it is busy and nobody draws for it.
    chosen.busy_until = Math.max(now, chosen.busy_until) + exponential();
    chosen.trust = finished(chosen.trust, completed, 0);
    if (completed) successes += 1;
    if (n >= tasks / 2) chosen.late_tasks += 1;
  }
  const fair = tasks / 2 / agents.length;
  const shareOf = (some: readonly Agent[]) => some.reduce((sum, it) => sum + it.late_tasks, 0) / some.length / fair;
  return {
    first_try_percent: (100 * successes) / tasks,
    newcomer_share: shareOf(agents.slice(-NEWCOMERS)),
    degraded_share: shareOf(agents.slice(0, DEGRADED)),
  };
}

const agent = (finishes: number): Agent => ({ finishes, trust: newcomer(0), busy_until: 0, late_tasks: 0 });

/** Half-way: the first degrade, and newcomers join. */
function turn(agents: Agent[]): Agent[] {
  for (const it of agents.slice(0, DEGRADED)) it.finishes = DEGRADED_TO;
  const joined = Array.from({ length: NEWCOMERS }, () => agent(BEST));
  agents.push(...joined);
  return joined;
}

function choose(line: Line<Agent>, now: number, rankOf: (it: Agent) => number): Agent {
  for (const it of bestFirst(waiting(line.round(), now), rankOf)) return it;
  return [...line].reduce((soonest, it) => (it.busy_until < soonest.busy_until ? it : soonest));
}

function* waiting(agents: Iterable<Agent>, now: number): Generator<Agent> {
  for (const it of agents) if (it.busy_until <= now) yield it;
}
