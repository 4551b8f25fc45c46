import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { mayWork } from '../trust/scrutiny.ts';
import type { ShownIn } from '../trust/shown.ts';
import { type Candidate, isGated, type Made, unfit, unproven } from './match.ts';

/** Which of the open classes (`of`) an agent matches. `gated`: that depends on what it has shown. */
export interface Matched {
  of: readonly TaskClass[];
  ids: readonly number[];
  gated: boolean;
}

/** What agents are that are made alike, and which classes they match but for what each has shown: made again only when a class came up or was paused. */
export interface Kind {
  agent: Made;
  fits: Matched;
}

/** Matches agents with the open classes. Who matches the same is answered the same list, so that claims of many are made in one statement. */
export interface Matching {
  kindOf(agent: Made): Kind;
  match(kind: Kind, shown: ShownIn): Matched;
}

export function createMatching(classes: Pick<Classes, 'open' | 'find'>): Matching {
  const kinds = new Map<string, Kind>();
  const lists = new Map<string, readonly number[]>();
  const passing = (agent: Candidate, ids: readonly number[]): readonly number[] => {
    const passed = ids.filter((id) => unproven(agent, classes.find(id)!) === undefined);
    const key = passed.join();
    const list = lists.get(key) ?? passed;
    if (lists.size > 10_000) lists.clear();
    lists.set(key, list);
    return list;
  };
  return {
    kindOf({ owner, serves, capabilities, labels, slots }) {
      const key = JSON.stringify([owner, serves, capabilities, labels, slots]);
      const agent = { owner, serves, capabilities, labels, slots };
      const kind = kinds.get(key) ?? { agent, fits: { of: [], ids: [], gated: false } };
      if (kinds.size > 10_000) kinds.clear();
      kinds.set(key, kind);
      return kind;
    },
    match(kind, shown) {
      const of = classes.open();
      if (kind.fits.of !== of) {
        const fit = of.filter((it) => unfit(kind.agent, it) === undefined);
        kind.fits = { of, ids: fit.map((it) => it.class_id), gated: fit.some(isGated) };
      }
      const gated = kind.fits.gated || ![...shown.values()].every(mayWork);
      return gated ? { of, ids: passing({ ...kind.agent, shown }, kind.fits.ids), gated } : kind.fits;
    },
  };
}
