import type { Routing } from '@muster/shared/contract/tasks';
import { drawUtility, type Random } from '../trust/draw.ts';
import type { Shown } from '../trust/shown.ts';

/** What strategies look at in an agent that waits for tasks of a class. */
export interface Contender {
  /** In the capability. */
  shown: Shown;
  slots: number;
  slots_used: number;
  /** When it was last given one of the class, counted in tasks; 0 where it never was. */
  turn: number;
  /** How long it took lately for each run it completed; infinite where it completed none, undefined where it had none. */
  response_ms: number | undefined;
}

interface Strategy {
  description: string;
  /** Where an agent stands: the least is given the task. */
  rank(it: Contender, random: Random): number;
}

export const STRATEGIES: Record<Routing, Strategy> = {
  trust_weighted: {
    description:
      'To the agent with the greatest draw of how useful it will be, from all it has shown in the capability (Thompson sampling): the trusted have most of the work, newcomers are tried, who degrades loses it',
    rank: ({ shown }, random) => -drawUtility(shown, random),
  },
  least_loaded: {
    description: 'To the agent with the smallest part of its slots in use',
    rank: ({ slots, slots_used }) => slots_used / slots,
  },
  round_robin: {
    description: 'To the agent that has not been given a task of these requirements for longest',
    rank: ({ turn }) => turn,
  },
  fastest_response: {
    description:
      'To the agent that took the shortest time, from assignment to result, for each run it completed: of its last 50 in an hour those in the capability. Who had none goes first',
    rank: ({ response_ms }) => response_ms ?? 0,
  },
};
