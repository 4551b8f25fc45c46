import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/runs';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { withDeadline } from '../platform/deadline.ts';
import * as store from './store/delete.ts';

/** How many tasks one statement looks at. */
export const BATCH = 500;

/** Forgets tasks that ended long ago, with their runs, until none is left or the caller has hung up; or counts them. */
export async function cleanupRuns(
  ctx: Ctx,
  { body: { older_than_days, dry_run } }: InputOf<typeof contract.cleanupRuns>,
) {
  const total = { tasks: 0, runs: 0 };
  for (let after: string | null = ''; after !== null && !ctx.signal.aborted; ) {
    const stretch = { olderThanDays: older_than_days, after, limit: BATCH };
    const found: store.Forgotten = await withDeadline(
      dry_run ? store.countRipe(ctx.db.admin, stretch) : store.forgetTasks(ctx.db.admin, stretch, actorOf(ctx)),
    );
    total.tasks += found.tasks;
    total.runs += found.runs;
    after = found.next;
  }
  return { ...total, dry_run };
}
