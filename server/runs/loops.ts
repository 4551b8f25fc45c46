import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { BATCH } from './cleanup.ts';
import { inRounds } from './rounds.ts';
import { forgetTasks } from './store/delete.ts';

/** How long a tick goes on, in milliseconds. */
const TICK_MS = 40_000;

/** Tasks that ended long ago are forgotten, with their runs. */
export const retainLoop = ({ db, config }: Pick<Deps, 'db' | 'config'>): LoopSpec => {
  const forget = inRounds(TICK_MS, async (after) => {
    const { tasks, next } = await forgetTasks(db.loops, { olderThanDays: config.retentionDays, after, limit: BATCH });
    return { gone: tasks, next };
  });
  return {
    name: 'runs.retain',
    intervalMs: 60_000,
    tick: async () => (config.retentionDays === 0 ? 0 : forget()),
  };
};
