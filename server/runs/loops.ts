import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { BATCH } from './cleanup.ts';
import { forgetTasks } from './store/delete.ts';

/** A tick goes on for so long, in milliseconds, or until so many statements in a row found nothing to forget. */
const TICK = { ms: 40_000, idle: 20 };

/** Tasks that ended long ago are forgotten, with their runs. Those that may not go yet are passed by, and looked at again in the next round. */
export const retainLoop = ({ db, config }: Pick<Deps, 'db' | 'config'>): LoopSpec => {
  let after = '';
  return {
    name: 'runs.retain',
    intervalMs: 60_000,
    async tick() {
      if (config.retentionDays === 0) return 0;
      const until = performance.now() + TICK.ms;
      let gone = 0;
      for (let idle = 0, more = true; more && idle < TICK.idle && performance.now() < until; ) {
        const found = await forgetTasks(db.loops, { olderThanDays: config.retentionDays, after, limit: BATCH });
        gone += found.tasks;
        idle = found.tasks > 0 ? 0 : idle + 1;
        more = found.next !== null;
        after = found.next ?? '';
      }
      return gone;
    },
  };
};
