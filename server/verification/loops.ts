import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { lookBack } from './check.ts';
import { TO_CHECK } from './store/due.ts';
import { TO_LOOK_BACK } from './store/review.ts';
import type { Verification } from './verifier.ts';

/** Looks at checks whose answers have come in, or whose time has come. Whoever brings an answer says so at once; this is for a coordinator that died before it could. */
export const judgeLoop = ({ check }: Pick<Verification, 'check'>): LoopSpec => ({
  name: 'verification.judge',
  intervalMs: 250,
  due: TO_CHECK,
  tick: check,
});

/** Has earlier results of agents that were caught looked at again, step by step. */
export const lookBackLoop = (deps: Pick<Deps, 'db'>, { check }: Pick<Verification, 'check'>): LoopSpec => ({
  name: 'verification.look-back',
  intervalMs: 1_000,
  due: TO_LOOK_BACK,
  async tick() {
    const taken = await lookBack(deps);
    if (taken > 0) await check();
    return taken;
  },
});
