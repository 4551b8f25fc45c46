import { notFound } from '@muster/shared/errors';
import { runIdOf } from '@muster/shared/ids';
import type { Ctx } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import { mismatch } from './match.ts';
import { type AgentLoad, countReady, findLoad, listLiveRuns } from './store/queue.ts';

/** Why an agent can be given nothing now that takes so many slots; undefined where it can. What a claim looks at on its locked row. */
export function obstacle({ mode, left, alive, slots, slots_used }: AgentLoad, slotCost = 1): string | undefined {
  if (mode !== 'OPEN') return `is ${mode}`;
  if (left) return 'has left';
  if (!alive) return 'does not beat';
  const free = slots - slots_used;
  if (free <= 0) return 'has no free slot';
  return free < slotCost ? `has ${free} slots free and not ${slotCost}` : undefined;
}

/** What an agent does, and what there is for it to do. */
export async function getWorkload(ctx: Ctx, classes: Classes, agentId: string) {
  const agent = await findLoad(ctx.db.admin, agentId);
  if (!agent) throw notFound('agent', agentId);
  const fitting = classes.all().filter((it) => mismatch(agent, it) === undefined);
  const open = fitting.filter((it) => !classes.isPaused(it)).map((it) => it.class_id);
  // One after the other: what reads has as many connections as it has places.
  const runs = await listLiveRuns(ctx.db.admin, agentId);
  const ready = await countReady(ctx.db.admin, open);
  const capabilities = new Map<string, { capability: string; ready: number; paused: boolean }>();
  for (const it of fitting) {
    const shown = capabilities.get(it.capability) ?? { capability: it.capability, ready: 0, paused: true };
    shown.ready += ready.get(it.class_id) ?? 0;
    shown.paused &&= classes.isPaused(it);
    capabilities.set(it.capability, shown);
  }
  const reason = obstacle(agent);
  return {
    agent_id: agentId,
    mode: agent.mode,
    slots: agent.slots,
    slots_used: agent.slots_used,
    able: reason === undefined,
    reason: reason ?? null,
    runs: runs.map(({ fence, ...run }) => ({
      run_id: runIdOf(fence),
      ...run,
      assigned_at: run.assigned_at.toISOString(),
      started_at: run.started_at?.toISOString() ?? null,
      cancel_requested_at: run.cancel_requested_at?.toISOString() ?? null,
    })),
    capabilities: [...capabilities.values()].sort((a, b) => b.ready - a.ready),
  };
}
