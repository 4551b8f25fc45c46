import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { forgetJtis } from './store/write.ts';

/** Proofs that have expired need not be remembered any more. */
export const forgetLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'agents.forget-proofs',
  intervalMs: 60_000,
  tick: () => forgetJtis(db.loops),
});
