import { createClient } from '@muster/shared/client';
import { listAgents, updateAgent } from '@muster/shared/contract/agents';
import { getTask, listTasks } from '@muster/shared/contract/tasks';
import { eventually } from '../eventually.ts';
import { type Fleet, startFleet } from '../fleet/fleet.ts';
import type { Member } from '../fleet/member.ts';
import type { PersonaInput } from '../fleet/persona.ts';
import type { BadGroup, Population } from './population.ts';
import { median, type Outcome } from './simulate.ts';

/** Runs take all agents as long: the model has each do its share. Long enough for two of a ring to have a task at the same time. */
const SPEED_MS = 200;
/** So many tasks for each agent wait for their first answer. */
const OPEN_PER_AGENT = 2;
const LOOK_MS = 1_000;

/** What agents that are honest but for errors, and each kind of the others, do in a fleet. */
export function personasOf({ bad, honest_wrong }: Population): Record<string, PersonaInput> {
  const shares = bad.reduce((sum, { share }) => sum + share, 0);
  const others = bad.map((it, n) => [`${it.persona}-${n}`, { share: it.share, speed_ms: SPEED_MS, ...deedsOf(it) }]);
  const honest = { share: 1 - shares, speed_ms: SPEED_MS, wrong_rate: honest_wrong };
  return { honest, ...(Object.fromEntries(others) as Record<string, PersonaInput>) };
}

function deedsOf(it: BadGroup): PersonaInput {
  switch (it.persona) {
    case 'flaky':
    case 'saboteur':
      return { wrong_rate: it.wrong };
    case 'sleeper':
      return { wrong_rate: 1, good_runs: it.good };
    case 'oscillator':
      return { wrong_rate: 1, good_runs: it.good, bad_runs: it.bad };
    case 'ring':
      return { ring: it.cheats };
  }
}

/** A fleet of a population at work, and what was seen of its agents. */
class Played {
  readonly #fleet: Fleet;
  readonly #admin: ReturnType<typeof createClient>;
  readonly #standing = new Map<string, string>();
  readonly #trustedAt = new Map<string, number>();

  constructor(fleet: Fleet, admin: ReturnType<typeof createClient>) {
    this.#fleet = fleet;
    this.#admin = admin;
  }

  /** Who is trusted by now, and after how many answers; and who is out. */
  async look(): Promise<void> {
    const byId = new Map(this.#fleet.members.map((member) => [member.agentId, member]));
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await this.#admin(listAgents, { query: { limit: 200, ...(cursor ? { cursor } : {}) } });
      for (const { agent_id, standing } of page.data) {
        this.#standing.set(agent_id, standing);
        if (standing === 'TRUSTED' && !this.#trustedAt.has(agent_id))
          this.#trustedAt.set(agent_id, byId.get(agent_id)!.answers);
      }
      cursor = page.next_cursor;
    }
  }

  /** Waits until nobody is asked for anything any more. */
  async quiet(): Promise<void> {
    let before = -1;
    const isQuiet = async () => {
      const claimed = this.#fleet.tally.counts.claimed;
      const { data } = await this.#admin(listTasks, { query: { status: 'VERIFYING', limit: 1 } });
      const still = claimed === before && data.length === 0;
      before = claimed;
      return still;
    };
    await eventually(isQuiet, { timeoutMs: 600_000, everyMs: 2_000 });
  }

  isOut = ({ agentId }: Member): boolean => ['QUARANTINED', 'BANNED'].includes(this.#standing.get(agentId)!);
  trustedAt = ({ agentId }: Member): number[] => [this.#trustedAt.get(agentId) ?? []].flat();

  /** What became of each task: `wrong` and `exposed` where somebody who is not honest had its lie taken, in the end or for a while. */
  async ends(ids: readonly string[], isBad: (name: string) => boolean) {
    const ends: { wrong: boolean; exposed: boolean; disputed: boolean }[] = [];
    const queue = [...ids];
    const ask = async () => {
      for (let task_id = queue.pop(); task_id; task_id = queue.pop()) {
        const { status, result_data, result_version } = await this.#admin(getTask, { params: { task_id } });
        const { says } = (result_data ?? {}) as { says?: string };
        const wrong = says !== undefined && isBad(says);
        const lied = result_version > 1 && this.#fleet.members.some((it) => isBad(it.name) && it.lies.has(task_id));
        ends.push({ wrong, exposed: wrong || lied, disputed: status !== 'COMPLETED' });
      }
    };
    await Promise.all(Array.from({ length: 8 }, ask));
    return ends;
  }
}

/**
 * Plays a population with a fleet over HTTP, each agent of an owner of its own, every task verified as its agent's record asks for. The same figures
 * as `simulate`; `work` counts the runs that were handed out. `onProgress` hears the share that is done. Throws where the population sets the model.
 */
export async function playFleet(
  population: Population,
  coordinator: { url: string; adminKey: string },
  seed: number,
  onProgress: (share: number) => void = () => {},
): Promise<Outcome> {
  if (Object.keys(population.settings).length > 0) throw new RangeError('settings: those of a coordinator are its own');
  const { agents, anchors, tasks } = population;
  const admin = createClient({ url: coordinator.url, credential: coordinator.adminKey });
  const fleet = await startFleet({ coordinator, agents, owners: agents, seed, personas: personasOf(population) });
  try {
    const honest = fleet.members.filter(({ name }) => name.startsWith('honest'));
    for (const { agentId } of honest.slice(0, anchors))
      await admin(updateAgent, { params: { agent_id: agentId }, body: { anchor: true } });
    const played = new Played(fleet, admin);
    const { counts } = fleet.tally;
    const watch = setInterval(() => {
      onProgress(Math.min(1, fleet.tally.percentiles('end').count / tasks));
      void played.look().catch(() => {});
    }, LOOK_MS);
    const half = await feed(fleet, tasks);
    await fleet.drained({ timeoutMs: 600_000 });
    await played.quiet();
    clearInterval(watch);
    await played.look();
    const bad = fleet.members.filter((member) => !honest.includes(member));
    const isBad = (says: string) => !says.startsWith('honest');
    const ends = await played.ends(fleet.submitted(), isBad);
    const caught = bad.filter((it) => played.isOut(it) && it.firstWrongAt !== undefined);
    const percentOf = (part: readonly unknown[], whole: readonly unknown[]) =>
      (100 * part.length) / (whole.length || 1);
    return {
      wrong_percent: percentOf(
        ends.filter(({ wrong }) => wrong),
        ends,
      ),
      exposed_percent: percentOf(
        ends.filter(({ exposed }) => exposed),
        ends,
      ),
      disputed_percent: percentOf(
        ends.filter(({ disputed }) => disputed),
        ends,
      ),
      work: counts.claimed / tasks,
      steady_work: (counts.claimed - half) / (tasks - Math.floor(tasks / 2)),
      bad: bad.length,
      caught: caught.length,
      runs_to_catch: median(caught.map(({ answers, firstWrongAt }) => answers - firstWrongAt!)),
      falsely_quarantined_percent: percentOf(honest.filter(played.isOut), honest),
      runs_to_trust: median(honest.flatMap(played.trustedAt)),
    };
  } finally {
    await fleet.stop();
  }
}

/** Gives a fleet so many tasks. Answers how many runs had been handed out half-way. */
async function feed(fleet: Fleet, tasks: number): Promise<number> {
  const options = {
    open: OPEN_PER_AGENT * fleet.members.length,
    task: { verification: { policy: 'adaptive', comparator: { kind: 'json' } } as const },
  };
  await fleet.feed(Math.floor(tasks / 2), options);
  const half = fleet.tally.counts.claimed;
  await fleet.feed(tasks - Math.floor(tasks / 2), options);
  return half;
}
