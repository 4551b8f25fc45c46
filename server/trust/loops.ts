import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { foldVerdicts, returnQuarantined } from './lane.ts';
import { TO_RETURN } from './store/integrity.ts';
import { TO_FOLD } from './store/verdicts.ts';

/** Folds the verdicts that whoever found them did not fold, and puts those on probation whose quarantine is over. */
export const standingLoop = (deps: Pick<Deps, 'db' | 'notifier'>): LoopSpec => ({
  name: 'trust.standing',
  intervalMs: 1_000,
  due: `${TO_FOLD} or ${TO_RETURN}`,
  async tick() {
    const { folded } = await foldVerdicts(deps);
    return folded + (await returnQuarantined(deps));
  },
});
