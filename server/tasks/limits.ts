import type { Sql } from '../platform/database.ts';
import type { Requirements } from './store/classes.ts';
import { type Limit, listLimits, NETWORK } from './store/limits.ts';

/** What limits there are, kept by every coordinator: who is concerned by none pays nothing for them. */
export interface Limits {
  /** Whether tasks of an owner and a capability may be kept waiting by one. */
  concern(it: Pick<Requirements, 'owner' | 'capability'> | undefined): boolean;
  /** Whether there is any that could. */
  readonly any: boolean;
  /** An owner's share beside others': 1 unless somebody said otherwise. */
  weightOf(owner: string): number;
  /** Tells that they are not what they were. */
  onChange(heard: () => void): void;
  /** Learns what was said at other coordinators. */
  refresh(): Promise<void>;
}

export function createLimits(sql: Sql): Limits {
  const heard: (() => void)[] = [];
  let known = '[]';
  let holding = new Set<string>();
  let weights = new Map<string, number>();
  let [asked, answered] = [0, 0];
  const learn = (found: Limit[]) => {
    const before = known;
    known = JSON.stringify(found);
    if (known === before) return;
    const bounds = found.filter((it) => it.max_running !== null || it.starts_per_second !== null);
    holding = new Set(bounds.map(({ scope, name }) => `${scope} ${name}`));
    weights = new Map(
      found.flatMap(({ scope, name, weight }) => (scope === 'owner' && weight ? [[name, weight]] : [])),
    );
    for (const hear of heard) hear();
  };
  return {
    get any() {
      return holding.size > 0;
    },
    concern: (it) =>
      holding.size > 0 &&
      it !== undefined &&
      (holding.has(`global ${NETWORK}`) ||
        holding.has(`owner ${it.owner}`) ||
        holding.has(`capability ${it.capability}`)),
    weightOf: (owner) => weights.get(owner) ?? 1,
    onChange: (hear) => void heard.push(hear),
    async refresh() {
      asked += 1;
      const turn = asked;
      const found = await listLimits(sql);
      // What was asked before is older than what is known.
      if (turn <= answered) return;
      answered = turn;
      learn(found);
    },
  };
}
