import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { pruneEnrollmentTokens } from './store/enrollment-tokens.ts';
import { forgetJtis } from './store/used-jtis.ts';

/** How many rows one statement takes away. */
const BATCH = 5_000;
/** How long an enrolment token that is over is still shown, in days. */
const KEPT_DAYS = 30;

/** Proofs that have expired need not be remembered any more. */
export const forgetLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'agents.forget-proofs',
  intervalMs: 60_000,
  async tick() {
    let forgotten = 0;
    for (let last = BATCH; last === BATCH; forgotten += last) last = await forgetJtis(db.loops, BATCH);
    return forgotten;
  },
});

/** Forgets enrolment tokens long after they ended. */
export const pruneTokensLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'agents.prune-tokens',
  intervalMs: 60_000,
  tick: () => pruneEnrollmentTokens(db.loops, KEPT_DAYS),
});
