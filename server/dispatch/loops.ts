import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { mayWork } from '../trust/scrutiny.ts';
import type { Dispatch } from './dispatch.ts';
import { findReadyClasses } from './store/claim.ts';
import { TO_TAKE_BACK, takeBackQuarantined } from './store/quarantine.ts';
import { reapLeases, TO_REAP, timeOutRuns } from './store/reap.ts';

const BATCH = 500;

/** Takes back the work of agents that stopped beating, and ends runs that take too long. */
export const reapLoop = ({ db, notifier, log }: Pick<Deps, 'db' | 'notifier' | 'log'>): LoopSpec => ({
  name: 'dispatch.reap',
  intervalMs: 1_000,
  due: TO_REAP,
  async tick() {
    const lost = await reapLeases(db.loops, BATCH);
    const late = await timeOutRuns(db.loops, BATCH);
    if (lost.count + late.count > 0) log.info({ lost: lost.count, timed_out: late.count }, 'runs reaped');
    notifier.tell('ready', [...lost.ready, ...late.ready]);
    return lost.count + late.count;
  },
});

/** Takes back the work of agents that are quarantined or banned: at once when that is told, and what a claim had in hand meanwhile a second later. */
export function quarantineLoop({ db, notifier, log }: Pick<Deps, 'db' | 'notifier' | 'log'>): LoopSpec {
  const tick = async () => {
    const taken = await takeBackQuarantined(db.loops, BATCH);
    if (taken.count > 0) log.info({ runs: taken.count }, 'runs taken back from agents in quarantine');
    notifier.tell('ready', taken.ready);
    return taken.count;
  };
  notifier.on('standing', ({ standing }) => {
    // Should that fail, the loop does it.
    if (!mayWork({ standing })) void tick().catch(() => {});
  });
  return { name: 'dispatch.quarantine', intervalMs: 1_000, due: TO_TAKE_BACK, tick };
}

/** Lets parked polls look for work nobody told them of: made by a coordinator that died before it could, or lost by the network. */
export const sweepLoop = (
  { db }: Pick<Deps, 'db'>,
  { parking, classes, limits, recheck }: Dispatch,
  { refresh }: { refresh(): Promise<number[]> },
): LoopSpec => ({
  name: 'dispatch.sweep',
  intervalMs: 1_000,
  async tick() {
    const [wanted] = await Promise.all([refresh(), classes.refresh(), limits.refresh()]);
    await recheck(parking.agents());
    const awaited = parking.awaited();
    if (awaited.length === 0) return 0;
    const found = [...new Set([...wanted, ...(await findReadyClasses(db.hot, awaited))])];
    parking.wake(found);
    return found.length;
  },
});

/** Lets parked polls look for work that a limit kept from them: starts are saved up, and runs end, without anybody being told. */
export const roomLoop = ({ db }: Pick<Deps, 'db'>, { parking, limited }: Dispatch): LoopSpec => ({
  name: 'dispatch.room',
  intervalMs: 100,
  async tick() {
    const waiting = limited();
    if (waiting.length === 0) return 0;
    const found = await findReadyClasses(db.hot, waiting);
    parking.wake(found);
    return found.length;
  },
});
