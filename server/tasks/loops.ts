import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import * as store from './store/transitions.ts';

/** How many rows one tick moves: enough for a burst, few enough not to hold anybody up. */
const BATCH = 1_000;

/** What waited for its time becomes claimable. */
export const promoteLoop = ({ db, notifier }: Pick<Deps, 'db' | 'notifier'>): LoopSpec => ({
  name: 'tasks.promote',
  intervalMs: 250,
  async tick() {
    let moved = 0;
    for (let full = true; full; ) {
      const classIds = await store.promoteTasks(db.hot, BATCH);
      notifier.tell('ready', classIds);
      moved += classIds.length;
      full = classIds.length === BATCH;
    }
    return moved;
  },
});

/** What nobody started in time ends. */
export const expireLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'tasks.expire',
  intervalMs: 1_000,
  async tick() {
    let ended = 0;
    for (let last = BATCH; last === BATCH; ended += last) last = await store.expireTasks(db.loops, BATCH);
    return ended;
  },
});
