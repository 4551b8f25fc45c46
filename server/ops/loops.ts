import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { beatCoordinator, findWornTables, refreshTables } from './store.ts';

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

/**
 * Keeps what the planner believes and what claims walk over fresh: Postgres looks once a minute, and a busy queue has turned over a few million rows
 * by then. Any coordinator does it, where it is needed and no other is at it.
 */
export const houseLoop = ({ db, log }: Pick<Deps, 'db' | 'log'>): LoopSpec => ({
  name: 'ops.house',
  intervalMs: 2_000,
  async tick() {
    const worn = await findWornTables(db.loops);
    await refreshTables(db.session, worn);
    for (const it of worn) log.debug(it, it.vacuum ? 'table vacuumed' : 'table analyzed');
    return worn.length;
  },
});
