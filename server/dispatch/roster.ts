import { type CandidateRow, findCandidates } from '../agents/store/read.ts';
import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { mismatch, preference } from './match.ts';

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

export function createRoster({ db }: Pick<Deps, 'db'>, classes: Classes): Roster {
  const known = new Map<string, { row: CandidateRow; until: number }>();
  const memo = new Map<string, { of: readonly TaskClass[]; ids: number[] }>();
  /** How often each agent was forgotten: what was asked about it before is not believed. */
  const forgotten = new Map<string, number>();
  const load = createBatcher(async (ids: string[]) => {
    const rows = await findCandidates(db.hot, [...new Set(ids)]);
    return ids.map((id) => rows.get(id));
  });

  // Agents that can do the same share one list, made again only when a class came up or was paused.
  const matching = (row: CandidateRow): readonly number[] => {
    const key = JSON.stringify([row.owner, row.serves, row.capabilities, row.labels, row.slots]);
    const open = classes.open();
    const found = memo.get(key);
    if (found?.of === open) return found.ids;
    const ids = open.filter((it) => mismatch(row, it) === undefined).map((it) => it.class_id);
    if (memo.size > 10_000) memo.clear();
    memo.set(key, { of: open, ids });
    return ids;
  };
  return {
    async classesOf(agentId) {
      const belief = known.get(agentId);
      if (belief && belief.until > performance.now()) return matching(belief.row);
      const before = forgotten.get(agentId);
      const row = await load(agentId);
      if (!row) return undefined;
      if (forgotten.get(agentId) !== before) return matching(row);
      if (known.size > 200_000) known.clear();
      known.set(agentId, { row, until: performance.now() + BELIEF_MS });
      return matching(row);
    },
    knownClassesOf(agentId) {
      const belief = known.get(agentId);
      return belief && matching(belief.row);
    },
    matches(agentId, task) {
      const belief = known.get(agentId);
      return belief !== undefined && !classes.isPaused(task) && mismatch(belief.row, task) === undefined;
    },
    preference(agentId, classId) {
      const [belief, task] = [known.get(agentId), classes.find(classId)];
      return belief && task && preference(belief.row, task);
    },
    forget(agentId) {
      known.delete(agentId);
      forgotten.set(agentId, (forgotten.get(agentId) ?? 0) + 1);
    },
  };
}
