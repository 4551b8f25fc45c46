import { newId } from '@muster/shared/ids';
import type { Deps } from '../platform/ctx.ts';
import type { Random } from '../trust/draw.ts';
import { canaryProbability, type Known } from '../trust/scrutiny.ts';
import { firstEqual } from './compare.ts';
import { recordCanary, wantCanary, withdrawCanary } from './store/canary.ts';
import { postpone } from './store/decide.ts';
import { type Checking, findAnswers } from './store/due.ts';

/**
 * A canary is a task whose answer is known, given out once more to see whether its agent finds it. Nothing tells it from another: it has an id and a
 * trace of its own, and comes to an agent that has nothing to do with those that had the task. Draws for each agent that has claimed something of a
 * capability whether there is to be one; the classes they are wanted of.
 */
export async function drawCanaries(
  { db }: Pick<Deps, 'db'>,
  claimed: readonly { capability: string; agent: Known }[],
  random: Random,
): Promise<number[]> {
  const drawn = claimed.filter(({ agent }) => random() < canaryProbability(agent));
  const wanted = drawn.map(({ capability }) => wantCanary(db.hot, { capability, alias: newId('task') }));
  return (await Promise.all(wanted)).flat();
}

/** What becomes of the canary of a task that is verified: who took it is right or wrong, and what nobody takes by its deadline is not wanted any more. */
export async function checkCanary(
  { db: { loops: sql } }: Pick<Deps, 'db'>,
  it: Checking,
): Promise<{ moved: boolean; judged: string[] }> {
  const { canary, verification, note, now } = it;
  const until = canary?.fence === null ? canary.since + verification.deadline_seconds * 1_000 : null;
  if (until !== null && now >= until) return { moved: await withdrawCanary(sql, it), judged: [] };
  if (canary?.status !== 'COMPLETED' || it.finality !== 'verified')
    return { moved: await postpone(sql, it, { until, note }), judged: [] };
  const agent_id = canary.agent_id!;
  const fence = canary.fence!;
  const [, first] = firstEqual(await findAnswers(sql, [it.fence!, fence]), verification.comparator);
  const verdict = {
    fence,
    kind: 'canary',
    task_id: it.task_id,
    agent_id,
    capability: it.capability,
    found: first === 0 ? ('RIGHT' as const) : ('WRONG' as const),
    vouched: first === 0,
    judge: 'canary',
  };
  const moved = await recordCanary(sql, it, verdict);
  return { moved, judged: moved ? [agent_id] : [] };
}
