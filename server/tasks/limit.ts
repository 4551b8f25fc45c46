import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/queue';
import { notFound, ProblemError } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import type { Limits } from './limits.ts';
import * as store from './store/limits.ts';

const showLimit = ({ updated_at, ...row }: store.LimitRow) => ({ ...row, updated_at: updated_at.toISOString() });

export async function listLimits(ctx: Ctx) {
  return { data: (await store.countLimits(ctx.db.admin)).map(showLimit) };
}

/** Sets a limit. Here it holds from the answer on, elsewhere when the others have heard of it; what runs by then is counted. */
export async function putLimit(ctx: Ctx, limits: Limits, { params, body }: InputOf<typeof contract.putLimit>) {
  refuseUnfit(
    params.scope === 'global' ? params.name === store.NETWORK : params.name !== store.NETWORK,
    '#/name',
    `name ${params.name} is not one of scope ${params.scope}: the network is *, and nothing else is`,
  );
  refuseUnfit(
    body.weight === undefined || params.scope === 'owner',
    '#/weight',
    `weight is of owners, not of scope ${params.scope}`,
  );
  const { max_running = null, starts_per_second = null, weight = null } = body;
  await store.putLimit(ctx.db.admin, { ...params, max_running, starts_per_second, weight }, actorOf(ctx));
  await tell(ctx, limits, params.name);
  await store.countUnheld(ctx.db.admin);
  const limit = await findLimit(ctx, params);
  if (limit) return limit;
  throw new ProblemError('conflict', `there are ${store.MOST_LIMITS} limits already`);
}

/** Ends a limit; what it was is the answer. */
export async function deleteLimit(ctx: Ctx, limits: Limits, { params }: InputOf<typeof contract.deleteLimit>) {
  const limit = await findLimit(ctx, params);
  const gone = await store.deleteLimit(ctx.db.admin, params, actorOf(ctx));
  if (!limit || !gone) throw notFound(`limit of ${params.scope}`, params.name);
  await tell(ctx, limits, params.name);
  return limit;
}

async function findLimit(ctx: Ctx, params: Pick<store.Limit, 'scope' | 'name'>) {
  const [limit] = await store.countLimits(ctx.db.admin, params);
  return limit && showLimit(limit);
}

async function tell(ctx: Ctx, limits: Limits, name: string): Promise<void> {
  await limits.refresh();
  ctx.notifier.tell('limited', name);
}

function refuseUnfit(fits: boolean, pointer: string, detail: string): void {
  if (!fits) throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
}
