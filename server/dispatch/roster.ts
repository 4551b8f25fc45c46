import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { mismatch } from './match.ts';
import { createMatching, type Kind, type Matched } from './matching.ts';
import { type CandidateRow, findCandidates, findResponseTimes } from './store/candidates.ts';

/** How long what an agent can do is believed without asking again, in milliseconds. */
const BELIEF_MS = 2_000;

/** Which classes each agent may be given tasks of. */
export interface Roster {
  /** Undefined where the agent does not exist. */
  classesOf(agentId: string): Promise<readonly number[] | undefined>;
  /** The same at once, as far as is known here: with the classes that came up since `classesOf` answered. */
  knownClassesOf(agentId: string): readonly number[] | undefined;
  /** Whether an agent whose poll waits may be given tasks of a class, as far as is known here. */
  matches(agentId: string, task: TaskClass): boolean;
  /** An agent whose poll waits, as far as is known here. */
  find(agentId: string): CandidateRow | undefined;
  forget(agentId: string): void;
  /** Asks anew about those of these agents whom a gate concerns. Answers who may be given tasks of other classes than before. */
  refresh(agentIds: readonly string[]): Promise<string[]>;
}

/** An agent as it was when it was asked about, and what it was found to match. */
interface Belief extends Pick<CandidateRow, 'shown' | 'response_ms'> {
  kind: Kind;
  until: number;
  matched: Matched | undefined;
}

export function createRoster({ db }: Pick<Deps, 'db'>, classes: Classes): Roster {
  const known = new Map<string, Belief>();
  const { kindOf, match } = createMatching(classes);
  /** How often each agent was forgotten: what was asked about it before is not believed. */
  const forgotten = new Map<string, number>();
  const timed = () => classes.open().filter(({ routing }) => routing === 'fastest_response').length;
  const load = createBatcher(async (ids: string[]) => {
    const isTimed = timed() > 0;
    const rows = await findCandidates(db.hot, [...new Set(ids)], isTimed);
    return ids.map((id) => rows.get(id));
  });

  // How long they took was not asked of those that wait when the first comes up whose tasks go by that.
  classes.onNew(({ routing }) => {
    if (routing === 'fastest_response' && timed() === 1) void timeAll(db, known).catch(() => {});
  });

  const matchedOf = (belief: Belief): Matched => {
    if (belief.matched?.of !== classes.open()) belief.matched = match(belief.kind, belief.shown);
    return belief.matched!;
  };
  const find = (agentId: string): CandidateRow | undefined => {
    const it = known.get(agentId);
    if (!it) return undefined;
    const { shown, response_ms } = it;
    const { owner, serves, capabilities, labels, slots } = it.kind.agent;
    return { agent_id: agentId, owner, serves, capabilities, labels, slots, shown, response_ms };
  };
  const outdate = (agentId: string) => forgotten.set(agentId, (forgotten.get(agentId) ?? 0) + 1);
  const ask = async (agentId: string): Promise<Belief | undefined> => {
    const before = forgotten.get(agentId);
    const row = await load(agentId);
    if (!row) return undefined;
    const { shown, response_ms } = row;
    const until = performance.now() + BELIEF_MS;
    const belief: Belief = { kind: kindOf(row), shown, response_ms, until, matched: undefined };
    if (forgotten.get(agentId) !== before) return belief;
    if (known.size > 200_000) known.clear();
    known.set(agentId, belief);
    return belief;
  };
  return {
    async classesOf(agentId) {
      const belief = known.get(agentId);
      const found = belief && belief.until > performance.now() ? belief : await ask(agentId);
      return found && matchedOf(found).ids;
    },
    knownClassesOf(agentId) {
      const belief = known.get(agentId);
      return belief && matchedOf(belief).ids;
    },
    matches(agentId, task) {
      const agent = find(agentId);
      return agent !== undefined && !classes.isPaused(task) && mismatch(agent, task) === undefined;
    },
    find,
    forget(agentId) {
      known.delete(agentId);
      outdate(agentId);
    },
    async refresh(agentIds) {
      const before = new Map<string, readonly number[]>();
      for (const agentId of agentIds) {
        const belief = known.get(agentId);
        if (!belief || !matchedOf(belief).gated) continue;
        before.set(agentId, matchedOf(belief).ids);
        belief.until = 0;
        outdate(agentId);
      }
      const asked = await Promise.all([...before.keys()].map(ask));
      return [...before]
        .filter(([, ids], n) => !asked[n] || matchedOf(asked[n]).ids !== ids)
        .map(([agentId]) => agentId);
    },
  };
}

async function timeAll({ hot }: Deps['db'], known: ReadonlyMap<string, Belief>): Promise<void> {
  for (const [agentId, ms] of await findResponseTimes(hot, [...known.keys()])) {
    const belief = known.get(agentId);
    if (belief) belief.response_ms = ms;
  }
}
