import type { Standing } from '@muster/shared/lifecycle';
import { type Checked, type Evidence, UNCHECKED } from './score.ts';
import { mayWork } from './scrutiny.ts';
import { EVERYTHING } from './store/integrity.ts';

/** What an agent has shown in a capability: gates and strategies go by it. */
export interface Shown extends Evidence, Checked {
  standing: Standing;
}

/** What it has shown, by capability; its standing in all of them, too. */
export type ShownIn = ReadonlyMap<string, Shown>;

const NOTHING: Shown = { dependable: 0, undependable: 0, ...UNCHECKED, standing: 'NEWCOMER' };

/** The same in one of them; a newcomer has shown nothing. Who may do nothing at all may not do this. */
export function shownIn(shown: ShownIn, capability: string): Shown {
  const it = shown.get(capability) ?? NOTHING;
  const everywhere = shown.get(EVERYTHING);
  return everywhere && !mayWork(everywhere) ? { ...it, standing: everywhere.standing } : it;
}
