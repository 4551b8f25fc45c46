import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import type { Random } from '../trust/draw.ts';
import { shownIn } from '../trust/shown.ts';
import { preference } from './match.ts';
import type { Roster } from './roster.ts';
import type { CandidateRow } from './store/candidates.ts';
import { type Contender, STRATEGIES } from './strategies.ts';
import type { Turns } from './turns.ts';

/** A poll that waits. `slots_used`: of its agent's slots, with what is on its way to it. */
interface Waiter {
  agent_id: string;
  slots_used: number;
}

/** Who goes before whom among the polls that wait for a class. */
export interface Precedence {
  /** How well an agent suits the wishes of a class; undefined where it has none. */
  preference(agentId: string, classId: number): number | undefined;
  /** Where each stands by the strategy of a class: the least goes first. */
  rankIn(classId: number): (it: Waiter) => number;
  /** Agents are given tasks of a class, or about to be: one each. */
  gave(classId: number, agentIds: readonly string[]): void;
}

export const FIRST_COME: Precedence = { preference: () => undefined, rankIn: () => () => 0, gave() {} };

/** By what is known here of the agents, and the strategies of the classes. */
export const createPrecedence = (
  roster: Pick<Roster, 'find'>,
  classes: Pick<Classes, 'find'>,
  turns: Turns,
  random: Random,
): Precedence => ({
  preference(agentId, classId) {
    const [agent, task] = [roster.find(agentId), classes.find(classId)];
    return agent && task && preference(agent, task);
  },
  rankIn(classId) {
    const task = classes.find(classId);
    if (!task) return () => 0;
    const { rank } = STRATEGIES[task.routing];
    return (it) => {
      const agent = roster.find(it.agent_id);
      return agent ? rank(contenderOf(agent, task, it, turns), random) : Number.POSITIVE_INFINITY;
    };
  },
  gave(classId, agentIds) {
    if (classes.find(classId)?.routing !== 'round_robin') return;
    for (const agentId of agentIds) turns.gave(classId, agentId);
  },
});

/** An agent as the strategies look at it. */
export const contenderOf = (
  agent: CandidateRow,
  { class_id, capability }: TaskClass,
  { slots_used }: Pick<Waiter, 'slots_used'>,
  turns: Turns,
): Contender => ({
  shown: shownIn(agent.shown, capability),
  slots: agent.slots,
  slots_used,
  turn: turns.of(class_id, agent.agent_id),
  response_ms: agent.response_ms.get(capability),
});
