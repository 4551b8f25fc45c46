import type { Ctx } from '../platform/ctx.ts';
import { setLimits } from '../tasks/store/concurrency.ts';
import type { Rule } from './rule.ts';

/** Says how many of the tasks of its concurrency key may be under way, as a task that is submitted does. */
export async function limitKey(
  ctx: Ctx,
  owner: string,
  { concurrency_key: key, concurrency_limit: max }: Pick<Rule, 'concurrency_key' | 'concurrency_limit'>,
): Promise<void> {
  if (key !== null) await setLimits(ctx.db.admin, owner, new Map([[key, max]]));
}
