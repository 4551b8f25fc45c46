import { notFound } from '@muster/shared/errors';
import { isTerminal } from '@muster/shared/lifecycle';
import type { Ctx } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { countLimits, type LimitRow } from '../tasks/store/limits.ts';
import { mismatch } from './match.ts';
import { findPlace, listLoads, type Place } from './store/queue.ts';
import { obstacle } from './workload.ts';

/** The most agents an answer shows. */
const AT_MOST = 200;

interface Verdict {
  agent_id: string;
  able: boolean;
  reason: string | null;
}

/** Why a task does not run. It looks and changes nothing. */
export async function explainTask(ctx: Ctx, classes: Classes, taskId: string) {
  const place = await findPlace(ctx.db.admin, taskId);
  if (!place) throw notFound('task', taskId);
  // Another coordinator may have made its class a moment ago.
  if (!classes.find(place.class_id)) await classes.refresh();
  const task = classes.find(place.class_id)!;
  const where = placeOf(place);
  const paused = classes.isPaused(task);
  const waits = where !== 'leased' && where !== 'verifying' && where !== 'ended';
  const candidates = waits ? await judge(ctx, task, paused) : [];
  const limits = where === 'ready' ? await countLimits(ctx.db.admin, task) : [];
  return {
    task_id: taskId,
    status: place.status,
    place: where,
    reason: reasonOf(place, task, paused, candidates, limits),
    paused,
    until: where === 'delayed' ? (place.until?.toISOString() ?? null) : null,
    agent_id: where === 'leased' ? place.agent_id : null,
    ahead: where === 'ready' ? place.ahead : null,
    candidates,
  };
}

function placeOf({
  status,
  agent_id,
  open,
  until,
  gate,
}: Place): 'blocked' | 'delayed' | 'gated' | 'ready' | 'leased' | 'verifying' | 'ended' {
  if (isTerminal(status)) return 'ended';
  if (status === 'VERIFYING') return 'verifying';
  if (agent_id !== null) return 'leased';
  if (open !== null) return 'blocked';
  if (until !== null) return 'delayed';
  return gate === null ? 'ready' : 'gated';
}

/** What a claim would find for each agent: whether it fits, then whether it can be given anything now. */
async function judge(ctx: Ctx, task: TaskClass, paused: boolean): Promise<Verdict[]> {
  const { owner, capability, labels_required: labels } = task;
  const agents = await listLoads(ctx.db.admin, { owner, capability, labels, limit: AT_MOST });
  const verdicts = agents.map((agent) => {
    const reason =
      mismatch(agent, task) ?? obstacle(agent, task.slot_cost) ?? (paused ? `${capability} is paused` : undefined);
    return { agent_id: agent.agent_id, able: reason === undefined, reason: reason ?? null };
  });
  return verdicts.sort((a, b) => Number(b.able) - Number(a.able));
}

/** Whose limit it is, in words. */
const limitedBy = ({ scope, name }: LimitRow) => (scope === 'global' ? 'the network' : `${scope} ${name}`);

function reasonOf(
  place: Place,
  { capability }: TaskClass,
  paused: boolean,
  candidates: readonly Verdict[],
  limits: readonly LimitRow[],
): string {
  switch (placeOf(place)) {
    case 'ended':
      return `it is ${place.status}`;
    case 'leased':
      return `it is ${place.status} at agent ${place.agent_id}`;
    case 'verifying':
      return place.note ?? 'it has an answer, which others check';
    case 'blocked':
      return `it waits for ${place.open} other tasks`;
    case 'delayed':
      return `it is not due before ${place.until?.toISOString()}`;
    case 'gated':
      return `of its concurrency key ${place.gate?.concurrency_key} ${place.gate?.held} of ${place.gate?.max} are under way`;
  }
  if (paused) return `${capability} is paused`;
  const full = limits.find((it) => it.max_running !== null && it.running >= it.max_running);
  if (full) return `${limitedBy(full)} runs ${full.running} of ${full.max_running}`;
  const able = candidates.filter((it) => it.able).length;
  const first = candidates[0];
  if (!first) return 'there is no agent that serves its owner';
  if (able === 0) return `no agent may have it now; the one that comes closest ${first.reason}`;
  const slow = limits.find((it) => it.starts_per_second !== null);
  const pace = slow ? `; ${limitedBy(slow)} starts at most ${slow.starts_per_second} a second` : '';
  return `${able} agents may have it, and ${place.ahead ?? 0} tasks like it stand before it${pace}`;
}
