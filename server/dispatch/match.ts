import { meets } from '../agents/capability.ts';
import type { TaskClass } from '../tasks/store/classes.ts';

/** What matching looks at in an agent. */
export interface Candidate {
  owner: string;
  serves: string;
  capabilities: readonly string[];
}

/** Why an agent may not run the tasks of a class; undefined where it may. The one matching function of the house. */
export function mismatch(agent: Candidate, task: TaskClass): string | undefined {
  if (agent.serves !== 'all' && agent.owner !== task.owner)
    return `serves only tasks of ${agent.owner}, not of ${task.owner}`;
  if (!agent.capabilities.some((has) => meets(has, task.capability))) return `cannot do ${task.capability}`;
  return undefined;
}
