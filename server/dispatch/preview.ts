import type { InputOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/routing';
import { ROUTINGS } from '@muster/shared/contract/tasks';
import { ProblemError } from '@muster/shared/errors';
import { isAdmin } from '../platform/auth.ts';
import { type Ctx, ownerOf, shownOwner } from '../platform/ctx.ts';
import { type TaskClass, UNSAID } from '../tasks/store/classes.ts';
import { countLimits } from '../tasks/store/limits.ts';
import { integrityAtLeast, trustScore } from '../trust/score.ts';
import { shownIn } from '../trust/shown.ts';
import type { Dispatch } from './dispatch.ts';
import { AT_MOST, judge, obstruction } from './explain.ts';
import { bestFirst, firstOf, tiersOf } from './line.ts';
import { preference } from './match.ts';
import { contenderOf } from './precedence.ts';
import { type CandidateRow, findResponseTimes } from './store/candidates.ts';
import type { AgentLoad } from './store/queue.ts';
import { STRATEGIES } from './strategies.ts';

export const listStrategies = async () => ({
  data: ROUTINGS.map((name) => ({
    name,
    description: STRATEGIES[name].description,
    default: name === UNSAID.routing,
  })),
});

type Body = InputOf<typeof contract.previewRouting>['body'];

/** Where an agent stands for tasks of a class: how well it suits their wishes, then by their strategy, the least first. */
interface Place {
  agent: CandidateRow;
  slots_used: number;
  suits: number;
  rank: number;
}

/** Who would be given a task that is submitted now. Like a hand-off it takes the agents as they are known here, and like an explanation it asks for each whether it can be given anything; it changes nothing. */
export async function previewRouting(ctx: Ctx, dispatch: Dispatch, { body }: { body: Body }) {
  const task = await classFor(ctx, dispatch, body);
  const paused = dispatch.classes.isPaused(task);
  const line = firstOf(AT_MOST, inOrder(waitingFor(dispatch, task), task, dispatch));
  const ids = line.map((it) => it.agent.agent_id);
  const [verdicts, limits] = await Promise.all([judge(ctx, task, paused, ids), countLimits(ctx.db.admin, task)]);
  const able = new Map(verdicts.filter((it) => it.reason === undefined).map(({ agent }) => [agent.agent_id, agent]));
  const waiting = line.filter((it) => able.has(it.agent.agent_id));
  const others = [...able.values()].filter((it) => !ids.includes(it.agent_id));
  const asking = [...inOrder(await timed(ctx, task, others), task, dispatch)];
  const obstructed = obstruction(task, paused, verdicts, limits);
  const [first] = waiting;
  const shown = (place: Place, waits: boolean, reason: string) =>
    candidate(ctx, task, able.get(place.agent.agent_id)!, { able: true, waits, reason, rank: place.rank });
  return {
    owner: task.owner,
    capability_required: task.capability,
    routing: task.routing,
    agent_id: obstructed === undefined && first ? first.agent.agent_id : null,
    reason: obstructed ?? outcome(task, first, able.size),
    paused,
    candidates: [
      ...waiting.map((it) => shown(it, true, comparison(task, it, first!))),
      ...asking.map((it) => shown(it, false, 'may have it, but no poll of it waits here')),
      ...verdicts.flatMap(({ agent, reason }) =>
        reason === undefined
          ? []
          : [candidate(ctx, task, agent, { able: false, waits: ids.includes(agent.agent_id), reason })],
      ),
    ],
  };
}

/** The class of the tasks it is about, which need not be there: then nobody waits for it by name. */
async function classFor(ctx: Ctx, { classes }: Dispatch, body: Body): Promise<TaskClass> {
  const { task_type, capability_required: capability = task_type, owner = ownerOf(ctx), verification, ...rest } = body;
  if (owner !== ownerOf(ctx) && !isAdmin(ctx.principal))
    throw new ProblemError('insufficient-scope', `only an admin may preview tasks of another owner: ${owner}`);
  const asked = { ...rest, owner, capability, verified: verification !== 'none' };
  // Another coordinator may have made it a moment ago.
  if (classes.like(asked).class_id === 0) await classes.refresh();
  return classes.like(asked);
}

/** The agents whose polls would be handed a task of the class, in line. A class that comes up is waited for by all that match it, in the order they came. */
function* waitingFor({ parking, roster }: Dispatch, task: TaskClass) {
  for (const { agent_id, slots_used } of parking.lineOf(task.class_id || undefined))
    if (roster.matches(agent_id, task)) yield { agent: roster.find(agent_id)!, slots_used };
}

/** As a hand-off takes them: by their wishes, then by the strategy. */
function* inOrder(
  line: Iterable<Pick<Place, 'agent' | 'slots_used'>>,
  task: TaskClass,
  { turns, random }: Pick<Dispatch, 'turns' | 'random'>,
): Generator<Place> {
  const places = [...line].map((it) => ({ ...it, suits: preference(it.agent, task) ?? 0, rank: 0 }));
  const rankOf = (it: Place) => {
    it.rank = STRATEGIES[task.routing].rank(contenderOf(it.agent, task, it, turns), random);
    return it.rank;
  };
  for (const tier of tiersOf(places, (it) => it.suits)) yield* bestFirst(tier, rankOf);
}

/** Agents with how long they took, where that decides. */
async function timed(ctx: Ctx, { routing }: TaskClass, agents: readonly AgentLoad[]) {
  const ids = agents.map((it) => it.agent_id);
  const times = routing === 'fastest_response' ? await findResponseTimes(ctx.db.admin, ids) : undefined;
  return agents.map((it) => ({
    agent: { ...it, response_ms: times?.get(it.agent_id) ?? it.response_ms },
    slots_used: it.slots_used,
  }));
}

function outcome({ routing }: TaskClass, first: Place | undefined, able: number): string {
  if (first) return `agent ${first.agent.agent_id} waits, and is first by ${routing}`;
  return `${able} agents may have it, and none of them waits here: it goes to the one that asks first`;
}

function comparison({ routing, labels_preferred }: TaskClass, it: Place, first: Place): string {
  if (it === first) return `waits, and is first by ${routing}`;
  const { agent_id } = first.agent;
  if (it.suits === first.suits) return `waits, and comes after ${agent_id} by ${routing}`;
  const of = Object.keys(labels_preferred).length;
  return `waits, and has ${it.suits} of ${of} labels preferred where ${agent_id} has ${first.suits}`;
}

/** An agent as it is answered. Figures of another's are not the caller's to see. */
function candidate(
  ctx: Ctx,
  { capability }: TaskClass,
  { agent_id, owner, slots, slots_used, shown }: AgentLoad,
  { rank = Number.NaN, ...verdict }: { able: boolean; waits: boolean; reason: string; rank?: number },
) {
  const it = shownIn(shown, capability);
  const mine = owner === (shownOwner(ctx) ?? owner);
  return {
    agent_id,
    ...verdict,
    slots_free: mine ? Math.max(0, slots - slots_used) : null,
    trust_score: mine ? trustScore(it, it) : null,
    integrity_at_least: mine ? integrityAtLeast(it) : null,
    score: mine && Number.isFinite(rank) ? Math.abs(rank) : null,
  };
}
