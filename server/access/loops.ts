import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { pruneApiKeys } from './store/api-keys.ts';

/** How long a key that is over is still shown, in days. */
const KEPT_DAYS = 90;

/** Forgets keys long after they ended. */
export const pruneKeysLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'access.prune-keys',
  intervalMs: 60_000,
  tick: () => pruneApiKeys(db.loops, KEPT_DAYS),
});
