import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { forgetExecutions, forgetSchedules } from './store/executions.ts';

const BATCH = 1_000;
/** A tick goes on for so long, in milliseconds, or until so many statements in a row found nothing to forget. */
const TICK = { ms: 20_000, idle: 20 };

/** What schedules did long ago is forgotten, and with the last of it a schedule that was deleted. What may not go yet is looked at again in the next round. */
export const retainExecutionsLoop = ({ db, config }: Pick<Deps, 'db' | 'config'>): LoopSpec => {
  let after = '';
  return {
    name: 'schedules.retain',
    intervalMs: 60_000,
    async tick() {
      if (config.retentionDays === 0) return 0;
      const until = performance.now() + TICK.ms;
      let gone = 0;
      for (let idle = 0, more = true; more && idle < TICK.idle && performance.now() < until; ) {
        const found = await forgetExecutions(db.loops, { olderThanDays: config.retentionDays, after, limit: BATCH });
        gone += found.gone;
        idle = found.gone > 0 ? 0 : idle + 1;
        more = found.next !== null;
        after = found.next ?? '';
      }
      return gone + (await forgetSchedules(db.loops, config.retentionDays, BATCH));
    },
  };
};
