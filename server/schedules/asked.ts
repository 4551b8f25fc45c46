import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedule-operations';
import { MOST_BACKFILLED } from '@muster/shared/contract/schedule-operations';
import { ProblemError } from '@muster/shared/errors';
import { actorOf } from '../audit/record.ts';
import { type Ctx, ownerOf } from '../platform/ctx.ts';
import { onceOf } from '../platform/idempotency.ts';
import type { Classes } from '../tasks/classes.ts';
import { showExecution } from './read.ts';
import { runSchedule, type Wanted } from './run.ts';
import { findExecution } from './store/executions.ts';
import type { Planned } from './store/tick.ts';
import { dueBetween } from './when.ts';

/** Makes a schedule's task now, whatever else of it is under way. */
export async function triggerSchedule(
  ctx: Ctx,
  classes: Classes,
  { params: { schedule_id } }: InputOf<typeof contract.triggerSchedule>,
) {
  const once = requestOf(ctx, { trigger: schedule_id });
  const by = actorOf(ctx);
  const wanted: Wanted = { status: 'TRIGGERED', times: (it) => [it.now], overlap: 'ALLOW_ALL', by, once };
  const [id] = await runSchedule(ctx, classes, schedule_id, wanted);
  return showExecution((await findExecution(ctx.db.admin, id!))!);
}

/** Makes its task for every due time of a range that has passed. */
export async function backfillSchedule(
  ctx: Ctx,
  classes: Classes,
  { params: { schedule_id }, body }: InputOf<typeof contract.backfillSchedule>,
) {
  const times = (it: Planned) => pastTimes(it, new Date(Date.parse(body.from) - 1), new Date(body.to));
  const once = requestOf(ctx, { backfill: schedule_id, ...body });
  const wanted: Wanted = { status: 'BACKFILLED', times, overlap: body.overlap, by: actorOf(ctx), once };
  const ids = await runSchedule(ctx, classes, schedule_id, wanted);
  const at = async (id: string | undefined) =>
    (id === undefined ? undefined : await findExecution(ctx.db.admin, id))?.scheduled_at.toISOString() ?? null;
  return { schedule_id, made: ids.length, first: await at(ids[0]), last: await at(ids.at(-1)) };
}

/** The due times after an instant and up to another, all of them. */
function pastTimes(it: Planned, after: Date, to: Date): Date[] {
  if (to > it.now) throw outOfRange(`is after now, ${it.now.toISOString()}: what is due later fires by itself`);
  const times = dueBetween(it, after, to, MOST_BACKFILLED + 1);
  if (times.length <= MOST_BACKFILLED) return times;
  const last = times.at(-2)!.toISOString();
  throw outOfRange(
    `leaves more than ${MOST_BACKFILLED} due times; the first ${MOST_BACKFILLED} are those up to ${last}`,
  );
}

/** The request, where it is to count once. */
function requestOf(ctx: Ctx, asked: object): Wanted['once'] {
  const once = onceOf(ctx.idempotencyKey, asked);
  return once && { ...once, owner: ownerOf(ctx) };
}

const outOfRange = (detail: string) =>
  new ProblemError('validation-failed', `#/to ${detail}`, { errors: [{ pointer: '#/to', detail }] });
