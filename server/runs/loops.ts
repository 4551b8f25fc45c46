import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { BATCH } from './cleanup.ts';
import { inRounds } from './rounds.ts';
import { forgetEmptyBatches, forgetTasks } from './store/delete.ts';

/** How long a tick goes on, in milliseconds. */
const TICK_MS = 40_000;

/** Tasks that ended long ago are forgotten, with their runs; and batches that none is left of. */
export const retainLoop = ({ db, config }: Pick<Deps, 'db' | 'config'>): LoopSpec => {
  const stretch = (after: string) => ({ olderThanDays: config.retentionDays, after, limit: BATCH });
  const forget = inRounds(TICK_MS, async (after) => {
    const { tasks, next } = await forgetTasks(db.loops, stretch(after));
    return { gone: tasks, next };
  });
  const forgetBatches = inRounds(TICK_MS, (after) => forgetEmptyBatches(db.loops, stretch(after)));
  return {
    name: 'runs.retain',
    intervalMs: 60_000,
    tick: async () => (config.retentionDays === 0 ? 0 : (await forget()) + (await forgetBatches())),
  };
};
