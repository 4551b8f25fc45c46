import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { applyOutcomes, TO_BRING_HOME } from './store/outcomes.ts';

/** Brings home how scheduled tasks ended. */
export const outcomeLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'schedules.outcomes',
  intervalMs: 1_000,
  due: TO_BRING_HOME,
  async tick() {
    let seen = 0;
    for (let read = 1; read > 0; seen += read) read = await applyOutcomes(db.loops);
    return seen;
  },
});
