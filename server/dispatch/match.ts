import { meets } from '../agents/capability.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { integrityAtLeast, trustScore } from '../trust/score.ts';
import { mayWork } from '../trust/scrutiny.ts';
import { type ShownIn, shownIn } from '../trust/shown.ts';

/** What an agent is made to be and do. */
export interface Made {
  owner: string;
  serves: string;
  capabilities: readonly string[];
  labels: Readonly<Record<string, string>>;
  slots: number;
}

/** What matching looks at in an agent. */
export interface Candidate extends Made {
  shown: ShownIn;
}

/** Why an agent may not run the tasks of a class; undefined where it may. The one matching function of the house. */
export const mismatch = (agent: Candidate, task: TaskClass): string | undefined =>
  unfit(agent, task) ?? unproven(agent, task);

/** The part of it that is the same for all agents that are made alike. */
export function unfit(agent: Made, task: TaskClass): string | undefined {
  if (agent.serves !== 'all' && agent.owner !== task.owner)
    return `serves only tasks of ${agent.owner}, not of ${task.owner}`;
  if (!agent.capabilities.some((has) => meets(has, task.capability))) return `cannot do ${task.capability}`;
  const other = Object.entries(task.labels_required).find(([name, value]) => agent.labels[name] !== value);
  if (other) return `has not the label ${other.join('=')}`;
  return agent.slots < task.slot_cost ? `has ${agent.slots} slots and not ${task.slot_cost}` : undefined;
}

/** The part that is each agent's own: what it has shown. Exactly: a score just below a gate is below it. */
export function unproven({ shown }: Pick<Candidate, 'shown'>, task: TaskClass): string | undefined {
  const { capability, min_trust, min_integrity } = task;
  const it = shownIn(shown, capability);
  if (!mayWork(it)) return `is ${it.standing} in ${capability}`;
  const trust = trustScore(it, it);
  if (trust < min_trust) return `trust ${below(trust, min_trust)} is below ${min_trust}`;
  const integrity = min_integrity > 0 ? integrityAtLeast(it) : 0;
  return integrity < min_integrity
    ? `integrity ${below(integrity, min_integrity)} is below ${min_integrity}`
    : undefined;
}

/** A figure in as few digits, two at least, as still show that it is below a bound. */
function below(figure: number, bound: number): number {
  for (let digits = 2; digits < MOST_DIGITS; digits += 1) {
    const shown = Number(figure.toFixed(digits));
    if (shown < bound) return shown;
  }
  return figure;
}
/** What tells any two figures between 0 and 1 apart that a gate could be. */
const MOST_DIGITS = 20;

/** Whether the tasks of a class ask what an agent has shown. */
export const isGated = ({ min_trust, min_integrity }: TaskClass): boolean => min_trust > 0 || min_integrity > 0;

/** How many of the labels that tasks of a class would like an agent has; undefined where they have no wishes. */
export function preference(agent: Pick<Made, 'labels'>, task: TaskClass): number | undefined {
  const wishes = Object.entries(task.labels_preferred);
  return wishes.length === 0 ? undefined : wishes.filter(([name, value]) => agent.labels[name] === value).length;
}
