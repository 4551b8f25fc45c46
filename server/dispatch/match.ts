import { meets } from '../agents/capability.ts';
import type { TaskClass } from '../tasks/store/classes.ts';

/** What matching looks at in an agent. */
export interface Candidate {
  owner: string;
  serves: string;
  capabilities: readonly string[];
  labels: Readonly<Record<string, string>>;
  slots: number;
}

/** Why an agent may not run the tasks of a class; undefined where it may. The one matching function of the house. */
export function mismatch(agent: Candidate, task: TaskClass): string | undefined {
  if (agent.serves !== 'all' && agent.owner !== task.owner)
    return `serves only tasks of ${agent.owner}, not of ${task.owner}`;
  if (!agent.capabilities.some((has) => meets(has, task.capability))) return `cannot do ${task.capability}`;
  const other = Object.entries(task.labels_required).find(([name, value]) => agent.labels[name] !== value);
  if (other) return `has not the label ${other.join('=')}`;
  return agent.slots < task.slot_cost ? `has ${agent.slots} slots and not ${task.slot_cost}` : undefined;
}

/** How many of the labels that tasks of a class would like an agent has; undefined where they have no wishes. */
export function preference(agent: Pick<Candidate, 'labels'>, task: TaskClass): number | undefined {
  const wishes = Object.entries(task.labels_preferred);
  return wishes.length === 0 ? undefined : wishes.filter(([name, value]) => agent.labels[name] === value).length;
}
