import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { inRounds } from '../runs/rounds.ts';
import { forgetExecutions, forgetSchedules } from './store/executions.ts';

const BATCH = 1_000;
/** How long a tick goes on, in milliseconds. */
const TICK_MS = 20_000;

/** What schedules did long ago is forgotten, and with the last of it a schedule that was deleted. */
export const retainExecutionsLoop = ({ db, config }: Pick<Deps, 'db' | 'config'>): LoopSpec => {
  const olderThanDays = config.retentionDays;
  const forget = inRounds(TICK_MS, (after) => forgetExecutions(db.loops, { olderThanDays, after, limit: BATCH }));
  return {
    name: 'schedules.retain',
    intervalMs: 60_000,
    tick: async () =>
      olderThanDays === 0 ? 0 : (await forget()) + (await forgetSchedules(db.loops, olderThanDays, BATCH)),
  };
};
