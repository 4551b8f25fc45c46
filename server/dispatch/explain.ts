import { notFound } from '@muster/shared/errors';
import { isTerminal } from '@muster/shared/lifecycle';
import type { Ctx } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { TaskClass } from '../tasks/store/classes.ts';
import { countLimits, type LimitRow } from '../tasks/store/limits.ts';
import { mismatch } from './match.ts';
import { type AgentLoad, findPlace, listLoads, type Place } from './store/queue.ts';
import { obstacle } from './workload.ts';

/** The most agents an answer shows. */
export const AT_MOST = 200;

/** An agent, and why it cannot be given tasks of a class now; undefined where it can. */
interface Verdict {
  agent: AgentLoad;
  reason: string | undefined;
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
    candidates: candidates.map(({ agent: { agent_id }, reason }) => ({
      agent_id,
      able: reason === undefined,
      reason: reason ?? null,
    })),
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

/** What a claim would find for each agent: whether it fits, then whether it can be given anything now. Those that can come first; `first` are among them in any case. */
export async function judge(
  ctx: Ctx,
  task: TaskClass,
  paused: boolean,
  first: readonly string[] = [],
): Promise<Verdict[]> {
  const { owner, capability, labels_required: labels } = task;
  const agents = await listLoads(ctx.db.admin, { owner, capability, labels, first, limit: AT_MOST });
  const verdicts = agents.map((agent) => ({
    agent,
    reason:
      mismatch(agent, task) ?? obstacle(agent, task.slot_cost) ?? (paused ? `${capability} is paused` : undefined),
  }));
  return verdicts.sort((a, b) => Number(a.reason !== undefined) - Number(b.reason !== undefined));
}

/** What keeps the tasks of a class from all agents there are; undefined where one could be given one. */
export function obstruction(
  { capability }: TaskClass,
  paused: boolean,
  candidates: readonly Verdict[],
  limits: readonly LimitRow[],
): string | undefined {
  if (paused) return `${capability} is paused`;
  const full = limits.find((it) => it.max_running !== null && it.running >= it.max_running);
  if (full) return `${limitedBy(full)} runs ${full.running} of ${full.max_running}`;
  const [closest] = candidates;
  if (!closest) return 'there is no agent that serves its owner';
  return closest.reason && `no agent may have it now; the one that comes closest ${closest.reason}`;
}

/** Whose limit it is, in words. */
const limitedBy = ({ scope, name }: LimitRow) => (scope === 'global' ? 'the network' : `${scope} ${name}`);

function reasonOf(
  place: Place,
  task: TaskClass,
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
  const obstructed = obstruction(task, paused, candidates, limits);
  if (obstructed !== undefined) return obstructed;
  const able = candidates.filter((it) => it.reason === undefined).length;
  const slow = limits.find((it) => it.starts_per_second !== null);
  const pace = slow ? `; ${limitedBy(slow)} starts at most ${slow.starts_per_second} a second` : '';
  return `${able} agents may have it, and ${place.ahead ?? 0} tasks like it stand before it${pace}`;
}
