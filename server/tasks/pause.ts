import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/queue';
import { ProblemError } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import type { Classes } from './classes.ts';
import * as store from './store/pause.ts';

/** The longest list of capabilities. */
const AT_MOST = 1_000;

const showCapability = ({ paused_at, paused_by, ...row }: store.PausedRow) => ({
  ...row,
  paused: paused_by !== null,
  paused_at: paused_at?.toISOString() ?? null,
  paused_by,
});

export async function listQueueCapabilities(ctx: Ctx, { query }: InputOf<typeof contract.listQueueCapabilities>) {
  const rows = await store.listCapabilities(ctx.db.admin, { ...query, owner: shownOwner(ctx), limit: AT_MOST });
  return { data: rows.map(showCapability) };
}

/** Pauses a capability: an admin everybody's tasks of it, others their own. Nothing is handed out here from the answer on. */
export async function pauseCapability(ctx: Ctx, classes: Classes, capability: string) {
  const settled = await settle(ctx, classes, capability, store.insertPause);
  if (settled.paused) return settled;
  throw new ProblemError('conflict', `${store.MOST_PAUSES} capabilities are paused already`);
}

/** Ends a pause. What an admin has paused for everybody, others cannot resume. */
export const resumeCapability = (ctx: Ctx, classes: Classes, capability: string) =>
  settle(ctx, classes, capability, store.deletePauses);

async function settle(ctx: Ctx, classes: Classes, capability: string, change: typeof store.insertPause) {
  const owner = shownOwner(ctx) ?? store.EVERYBODY;
  await change(ctx.db.admin, { owner, capability }, actorOf(ctx));
  await classes.refresh();
  ctx.notifier.tell('paused', capability);
  const pause = await store.findPause(ctx.db.admin, { owner, capability });
  const paused_by = pause && (pause.owner === store.EVERYBODY ? 'network' : 'owner');
  return showCapability({ owner, capability, paused_at: pause?.paused_at ?? null, paused_by: paused_by ?? null });
}
