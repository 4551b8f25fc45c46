import type * as contract from '@muster/shared/contract/dispatch';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { fenceOf } from '@muster/shared/ids';
import type { Ctx } from '../platform/ctx.ts';
import type { Dispatch } from './dispatch.ts';
import { type Life, reportResult, staleLease } from './report.ts';

/** The agent that calls, in the life its token is for. The routes are for agents only. */
const lifeOf = ({ principal }: Ctx): Life => {
  const { agent_id, boot_id } = principal.kind === 'agent' ? principal : { agent_id: '', boot_id: '' };
  return { agent_id, boot_id };
};

export async function startRun(ctx: Ctx, { note }: Dispatch, { params, body }: InputOf<typeof contract.startRun>) {
  const found = await noteRun(ctx, note, params.run_id, body.fence, { started: true, progress: null });
  return { applied: !found.cancel };
}

export async function progressRun(
  ctx: Ctx,
  { note }: Dispatch,
  { params, body: { fence, ...progress } }: InputOf<typeof contract.progressRun>,
) {
  const found = await noteRun(ctx, note, params.run_id, fence, { started: true, progress: JSON.stringify(progress) });
  return { applied: true, cancel: found.cancel };
}

export const resultOfRun = (
  ctx: Ctx,
  { reporter }: Dispatch,
  { params, body }: InputOf<typeof contract.reportResult>,
) => reportResult({ db: ctx.db, reporter }, lifeOf(ctx), { run_id: params.run_id, ...body });

async function noteRun(
  ctx: Ctx,
  note: Dispatch['note'],
  runId: string,
  fence: number,
  said: { started: boolean; progress: string | null },
) {
  const found = fenceOf(runId) === fence ? await note({ ...lifeOf(ctx), fence, ...said }) : undefined;
  if (!found) throw staleLease(runId, fence);
  return found;
}
