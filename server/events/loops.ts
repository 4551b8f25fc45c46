import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { pruneEvents } from './store.ts';

/** Old events that everybody has read are forgotten. */
export const pruneLoop = ({ db }: Pick<Deps, 'db'>): LoopSpec => ({
  name: 'events.prune',
  intervalMs: 60_000,
  tick: () => pruneEvents(db.admin, 10_000),
});
