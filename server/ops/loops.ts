import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { beatCoordinator } from './store.ts';

/** Keeps this coordinator known, the process's clock true, and learns whether there are others to notify. */
export const clusterLoop = ({ db, clock, notifier, coordinatorId }: Deps, url: () => string): LoopSpec => ({
  name: 'ops.cluster',
  intervalMs: 1_000,
  async tick() {
    await clock.sync();
    // Through the pool agents are served by: where that is dead nobody is there for them.
    const peers = await beatCoordinator(db.hot, coordinatorId, url());
    notifier.setPeers(peers > 0);
    return 0;
  },
});
