import type { ApiKeyAuth } from './access/api-key-auth.ts';
import { pruneKeysLoop } from './access/loops.ts';
import { forgetLoop, pruneTokensLoop } from './agents/loops.ts';
import type { Revocations } from './agents/revocations.ts';
import type { Heads } from './audit/heads.ts';
import { pruneAuditLoop, sealLoop } from './audit/loops.ts';
import type { Dispatch } from './dispatch/dispatch.ts';
import { quarantineLoop, reapLoop, roomLoop, sweepLoop } from './dispatch/loops.ts';
import { pruneLoop } from './events/loops.ts';
import { clusterLoop, houseLoop } from './ops/loops.ts';
import type { Deps } from './platform/ctx.ts';
import { createLoops } from './platform/look.ts';
import type { Loop } from './platform/loop.ts';
import { retainLoop } from './runs/loops.ts';
import { outcomeLoop } from './schedules/outcomes.ts';
import { retainExecutionsLoop } from './schedules/retain.ts';
import { tickLoop } from './schedules/tick.ts';
import { expireLoop, forgetOnceLoop, holdLoop, promoteLoop, unblockLoop } from './tasks/loops.ts';
import { standingLoop } from './trust/loops.ts';
import { judgeLoop, lookBackLoop } from './verification/loops.ts';
import type { Verification } from './verification/verifier.ts';

/** What loops look after besides rows. */
export interface LoopParts {
  dispatch: Dispatch;
  verification: Verification;
  apiKeys: ApiKeyAuth;
  revocations: Revocations;
  heads: Heads;
  url: () => string;
}

/** Every loop of a coordinator. The first keeps the clock, so it goes first wherever all are ticked. */
export const loopsOf = (deps: Deps, { dispatch, verification, apiKeys, revocations, heads, url }: LoopParts): Loop[] =>
  createLoops(
    [
      clusterLoop(deps, url),
      houseLoop(deps),
      pruneLoop(deps),
      sealLoop(deps, dispatch.keys.seal, heads),
      pruneAuditLoop(deps),
      apiKeys.loop,
      pruneKeysLoop(deps),
      revocations.loop,
      forgetLoop(deps),
      pruneTokensLoop(deps),
      promoteLoop(deps),
      expireLoop(deps),
      unblockLoop(deps),
      forgetOnceLoop(deps),
      holdLoop(deps),
      reapLoop(deps),
      standingLoop(deps),
      quarantineLoop(deps),
      judgeLoop(verification),
      lookBackLoop(deps, verification),
      tickLoop(deps, dispatch.classes),
      outcomeLoop(deps),
      retainLoop(deps),
      retainExecutionsLoop(deps),
      sweepLoop(deps, dispatch, verification),
      roomLoop(deps, dispatch),
    ],
    deps.db.hot,
    deps.log,
  );
