import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/schedules';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { actorOf } from '../audit/record.ts';
import { type Ctx, ownerOf } from '../platform/ctx.ts';
import { firstRun, nextRuns } from './cron.ts';
import { getSchedule } from './read.ts';
import { insertSchedule } from './store/schedules.ts';

type Body = InputOf<typeof contract.createSchedule>['body'];

export async function createSchedule(ctx: Ctx, { body }: { body: Body }) {
  const schedule_id = newId('sched');
  const next_run_at = firstRun(body.cron_expression ?? '', body.timezone, ctx.clock.now());
  await insertSchedule(
    ctx.db.admin,
    { ...settingsOf(body), schedule_id, owner: ownerOf(ctx), next_run_at },
    actorOf(ctx),
  );
  return getSchedule(ctx, schedule_id);
}

const momentOf = (text: string | undefined) => (text === undefined ? null : new Date(text));

/** What a schedule is told to be, as its columns have it. */
export const settingsOf = (body: Body) => ({
  ...body,
  capability_required: body.capability_required ?? body.task_type,
  at: momentOf(body.at),
  starts_at: momentOf(body.starts_at),
  ends_at: momentOf(body.ends_at),
});

/** Says what a pattern means, or what is wrong with it; asking is never an error. */
export function validateSchedule(
  ctx: Ctx,
  { body: { cron_expression, timezone } }: InputOf<typeof contract.validateSchedule>,
) {
  const now = ctx.clock.now();
  try {
    if (cron_expression.length > 256)
      throw new ProblemError('invalid-cron', 'a cron expression has at most 256 characters');
    const next = firstRun(cron_expression, timezone, now);
    const next_runs = nextRuns(cron_expression, timezone, now, 5).map((at) => at.toISOString());
    return { valid: true as const, cron_expression, timezone, next_run_at: next.toISOString(), next_runs };
  } catch (error) {
    if (error instanceof ProblemError)
      return { valid: false as const, cron_expression, timezone, message: error.message };
    throw error;
  }
}
