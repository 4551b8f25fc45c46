import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/queue';
import { type Ctx, shownOwner } from '../platform/ctx.ts';
import { countLimits } from '../tasks/store/limits.ts';
import { type QueueRow, readQueue } from './store/queue.ts';

/** The most capabilities an answer shows. */
const AT_MOST = 1_000;

const NOTHING = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [String(n + 1), 0]));

function figuresOf({ ready, delayed, blocked, gated, running, by_priority, oldest, ages }: QueueRow) {
  const [p50, p90, p99, max] = (ages ?? []).map(Math.round);
  return {
    ready,
    delayed,
    blocked,
    gated,
    running,
    by_priority: by_priority ?? NOTHING,
    oldest: oldest?.toISOString() ?? null,
    age_ms:
      p50 === undefined || p90 === undefined || p99 === undefined || max === undefined ? null : { p50, p90, p99, max },
  };
}

/** What waits and runs, of the caller's own tasks or, for an admin, of everybody's. */
export async function getQueueStats(ctx: Ctx, { query }: InputOf<typeof contract.getQueueStats>) {
  const [all, ...rows] = await readQueue(ctx.db.admin, {
    capability: query.capability,
    owner: shownOwner(ctx),
    limit: AT_MOST,
  });
  const owner = shownOwner(ctx);
  const limits = await countLimits(ctx.db.admin, owner === undefined ? {} : { scope: 'owner', name: owner });
  return {
    data: rows.map((row) => ({ capability: row.capability!, paused: row.paused, ...figuresOf(row) })),
    totals: figuresOf(all!),
    estimated: all!.estimated,
    limits: limits.slice(0, AT_MOST).map(({ updated_at: _, weight: __, ...it }) => it),
  };
}
