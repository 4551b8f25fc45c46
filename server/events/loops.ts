import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { pruneEvents } from './store.ts';

const BATCH = 10_000;

/** Old events that everybody has read are forgotten. */
export const pruneLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'events.prune',
  intervalMs: 60_000,
  async tick() {
    let pruned = 0;
    for (let last = BATCH; last === BATCH; pruned += last) last = await pruneEvents(db.loops, BATCH);
    return pruned;
  },
});
