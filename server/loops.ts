import { forgetLoop } from './agents/loops.ts';
import type { Dispatch } from './dispatch/dispatch.ts';
import { reapLoop, sweepLoop } from './dispatch/loops.ts';
import { pruneLoop } from './events/loops.ts';
import { clusterLoop } from './ops/loops.ts';
import type { Deps } from './platform/ctx.ts';
import { createLoop, type Loop } from './platform/loop.ts';
import { outcomeLoop, tickLoop } from './schedules/tick.ts';
import { expireLoop, promoteLoop } from './tasks/loops.ts';

/** Every loop of a coordinator. The first keeps the clock, so it goes first wherever all are ticked. */
export const createLoops = (deps: Deps, dispatch: Dispatch, url: () => string): Loop[] =>
  [
    clusterLoop(deps, url),
    pruneLoop(deps),
    forgetLoop(deps),
    promoteLoop(deps),
    expireLoop(deps),
    reapLoop(deps),
    tickLoop(deps, dispatch.classes),
    outcomeLoop(deps),
    sweepLoop(deps, dispatch),
  ].map((spec) => createLoop(spec, deps.log));
