import { type CandidateRow, findCandidates } from '../agents/store/read.ts';
import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { type Candidate, mismatch, preference } from './match.ts';

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
  /** How well an agent suits the wishes of a class, as far as is known here; undefined where there are none. */
  preference(agentId: string, classId: number): number | undefined;
  forget(agentId: string): void;
}

/** What agents are that can do the same: they share one list of classes, made again only when a class came up or was paused. */
interface Kind {
  agent: Candidate;
  of: readonly TaskClass[];
  ids: readonly number[];
}

export function createRoster({ db }: Pick<Deps, 'db'>, classes: Classes): Roster {
  const known = new Map<string, { kind: Kind; until: number }>();
  const kinds = new Map<string, Kind>();
  /** How often each agent was forgotten: what was asked about it before is not believed. */
  const forgotten = new Map<string, number>();
  const load = createBatcher(async (ids: string[]) => {
    const rows = await findCandidates(db.hot, [...new Set(ids)]);
    return ids.map((id) => rows.get(id));
  });

  const kindOf = ({ owner, serves, capabilities, labels, slots }: CandidateRow): Kind => {
    const key = JSON.stringify([owner, serves, capabilities, labels, slots]);
    const kind = kinds.get(key) ?? { agent: { owner, serves, capabilities, labels, slots }, of: [], ids: [] };
    if (kinds.size > 10_000) kinds.clear();
    kinds.set(key, kind);
    return kind;
  };
  const matching = (kind: Kind): readonly number[] => {
    const open = classes.open();
    if (kind.of !== open)
      Object.assign(kind, {
        of: open,
        ids: open.filter((it) => mismatch(kind.agent, it) === undefined).map((it) => it.class_id),
      });
    return kind.ids;
  };
  return {
    async classesOf(agentId) {
      const belief = known.get(agentId);
      if (belief && belief.until > performance.now()) return matching(belief.kind);
      const before = forgotten.get(agentId);
      const row = await load(agentId);
      if (!row) return undefined;
      const kind = kindOf(row);
      if (forgotten.get(agentId) !== before) return matching(kind);
      if (known.size > 200_000) known.clear();
      known.set(agentId, { kind, until: performance.now() + BELIEF_MS });
      return matching(kind);
    },
    knownClassesOf(agentId) {
      const belief = known.get(agentId);
      return belief && matching(belief.kind);
    },
    matches(agentId, task) {
      const belief = known.get(agentId);
      return belief !== undefined && !classes.isPaused(task) && mismatch(belief.kind.agent, task) === undefined;
    },
    preference(agentId, classId) {
      const [belief, task] = [known.get(agentId), classes.find(classId)];
      return belief && task && preference(belief.kind.agent, task);
    },
    forget(agentId) {
      known.delete(agentId);
      forgotten.set(agentId, (forgotten.get(agentId) ?? 0) + 1);
    },
  };
}
