import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { settleDependencies, TO_UNBLOCK } from './store/dependencies.ts';
import { forgetExpiredOnce } from './store/keys.ts';
import { countUnheld, forgetSavers, TO_HOLD } from './store/limits.ts';
import * as store from './store/transitions.ts';
import { unblock } from './unblock.ts';

/** How many rows one tick moves: enough for a burst, few enough not to hold anybody up. */
const BATCH = 1_000;

/** What waited for its time becomes claimable. */
export const promoteLoop = ({ db, notifier }: Pick<Deps, 'db' | 'notifier'>): LoopSpec => ({
  name: 'tasks.promote',
  intervalMs: 250,
  due: store.TO_PROMOTE,
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
  due: store.TO_EXPIRE,
  async tick() {
    let ended = 0;
    for (let last = BATCH; last === BATCH; ended += last) last = await store.expireTasks(db.loops, BATCH);
    return ended;
  },
});

/** Ticks look for tasks submitted in the last `lately` seconds while what they wait for ended; every `often` milliseconds one looks further back, and after a gap at all that wait. */
const LOOK = { lately: 2, often: 10_000, back: 60, gap: 30_000 };

/** What waited for others goes on. Whoever ends a task says so at once; this is for a coordinator that died before it could. */
export const unblockLoop = (deps: Pick<Deps, 'db' | 'notifier'>): LoopSpec => {
  let last = Number.NEGATIVE_INFINITY;
  let lookedBack = 0;
  return {
    name: 'tasks.unblock',
    intervalMs: 250,
    due: TO_UNBLOCK,
    async tick() {
      const now = performance.now();
      const back = now - lookedBack >= LOOK.often;
      if (now - last > LOOK.gap) await settleAll(deps);
      else await settleDependencies(deps.db.loops, { seconds: back ? LOOK.back : LOOK.lately });
      last = now;
      if (back) lookedBack = now;
      let moved = 0;
      for (let last = 1; last > 0; moved += last) last = await unblock(deps);
      return moved;
    },
  };
};

async function settleAll({ db }: Pick<Deps, 'db'>): Promise<void> {
  for (let after: string | null = ''; after !== null; )
    after = (await settleDependencies(db.loops, { after, limit: BATCH })).last;
}

/** Requests that were answered are forgotten after a day. */
export const forgetOnceLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'tasks.forget-requests',
  intervalMs: 60_000,
  async tick() {
    let forgotten = 0;
    for (let last = BATCH; last === BATCH; forgotten += last) last = await forgetExpiredOnce(db.loops, BATCH);
    return forgotten;
  },
});

/** What was begun before everybody had heard of a limit is counted too; slots are kept for nobody for longer than an hour. */
export const holdLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'tasks.hold',
  intervalMs: 1_000,
  due: TO_HOLD,
  tick: async () => (await countUnheld(db.loops)) + (await forgetSavers(db.loops)),
});
