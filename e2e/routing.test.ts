import { cordonAgent } from '@muster/shared/contract/agents';
import type { CallOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { explainTask, pauseCapability, putLimit } from '@muster/shared/contract/queue';
import { listStrategies, previewRouting } from '@muster/shared/contract/routing';
import { ROUTINGS } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';
import { tableHashes } from './fixtures/tables.ts';

type Body = CallOf<typeof previewRouting>['body'];
type Preview = ResponseOf<typeof previewRouting>;

/** Asks who would be given such a task; no row may change by it. */
async function preview(network: TestNetwork, body: Body): Promise<Preview> {
  const before = await tableHashes(network.sql);
  const answer = await network.admin(previewRouting, { body });
  expect(await tableHashes(network.sql)).toEqual(before);
  return answer;
}
const inLine = ({ candidates }: Preview): string[] =>
  candidates.filter(({ able, waits }) => able && waits).map(({ agent_id }) => agent_id);
/** Whoever polls waits, in this order. */
async function waiting(network: TestNetwork, task_type: string, agents: readonly RawAgent[]) {
  const polls = new Map<RawAgent, ReturnType<RawAgent['poll']>>();
  const end = new AbortController();
  onTestFinished(() => end.abort());
  for (const agent of agents) {
    const poll = agent.poll({ wait_ms: 30_000 }, { signal: end.signal });
    poll.catch(() => {});
    polls.set(agent, poll);
    await eventually(async () => {
      const { candidates } = await network.admin(previewRouting, { body: { task_type } });
      expect(candidates.find((it) => it.agent_id === agent.agentId)?.waits).toBe(true);
    });
  }
  return polls;
}

test('there are the strategies a task may name; a preview says of each agent what it has to show, and why it would be given the task or not', async () => {
  const network = await startNetwork();
  const { data } = await network.admin(listStrategies, {});
  expect(data.map(({ name }) => name)).toEqual(ROUTINGS);
  const { routing } = await preview(network, { task_type: 'work' });
  expect(data.filter((it) => it.default).map(({ name }) => name)).toEqual([routing]);
  const body = { task_type: 'work', routing: 'least_loaded', labels_preferred: { zone: 'eu' } } as const;
  expect(await preview(network, body)).toMatchObject({
    ...{ owner: 'admin', capability_required: 'work', routing: 'least_loaded', agent_id: null, candidates: [] },
    reason: 'there is no agent that serves its owner',
  });
  const join = (slots = 2, capability = 'work') => network.rawAgent({ slots, capabilities: [capability] });
  const [other, closed, absent] = [await join(2, 'other'), await join(), await join()];
  await network.admin(cordonAgent, { params: { agent_id: closed.agentId } });
  expect(await preview(network, body)).toMatchObject({
    agent_id: null,
    reason: '1 agents may have it, and none of them waits here: it goes to the one that asks first',
  });
  const [busy, idle, near] = [await join(), await join(), await join()];
  await network.sql`update agents set labels = '{"zone":"eu"}' where agent_id = ${near.agentId}`;
  await network.submit({ task_type: 'work', input_data: null });
  await busy.take();
  await waiting(network, 'work', [busy, idle, near]);
  const found = await preview(network, body);
  expect(found).toMatchObject({
    agent_id: near.agentId,
    reason: `agent ${near.agentId} waits, and is first by least_loaded`,
  });
  const fewer = `waits, and has 0 of 1 labels preferred where ${near.agentId} has 1`;
  const shown = { slots_free: 2, trust_score: 0.5, integrity_at_least: expect.closeTo(0.05, 9), score: 0 };
  expect(found.candidates).toEqual([
    { ...shown, agent_id: near.agentId, able: true, waits: true, reason: 'waits, and is first by least_loaded' },
    { ...shown, agent_id: idle.agentId, able: true, waits: true, reason: fewer },
    { ...shown, agent_id: busy.agentId, able: true, waits: true, reason: fewer, slots_free: 1, score: 0.5 },
    {
      ...shown,
      agent_id: absent.agentId,
      able: true,
      waits: false,
      reason: expect.stringMatching(/no poll of it waits/),
    },
    { ...shown, agent_id: closed.agentId, able: false, waits: false, reason: 'is CORDONED', score: null },
    { ...shown, agent_id: other.agentId, able: false, waits: false, reason: 'cannot do work', score: null },
  ]);
  const plain = await preview(network, { ...body, labels_preferred: {} });
  expect(plain.candidates.slice(0, 3).map(({ agent_id, reason }) => [agent_id, reason])).toEqual([
    [idle.agentId, 'waits, and is first by least_loaded'],
    [near.agentId, `waits, and comes after ${idle.agentId} by least_loaded`],
    [busy.agentId, `waits, and comes after ${idle.agentId} by least_loaded`],
  ]);
  await network.admin(putLimit, { params: { scope: 'capability', name: 'work' }, body: { max_running: 1 } });
  expect(await preview(network, body)).toMatchObject({ agent_id: null, reason: 'capability work runs 1 of 1' });
  await network.admin(pauseCapability, { params: { capability: 'work' } });
  expect(await preview(network, body)).toMatchObject({ agent_id: null, reason: 'work is paused', paused: true });
});

test("an owner's preview is of its own tasks: it names whom an explanation names, and no figures of others' agents", async () => {
  const network = await startNetwork();
  const scopes = ['tasks:read', 'agents:admin'] as const;
  const [acme, rival] = [
    await makeKey(network, { owner: 'acme', scopes: [...scopes] }),
    await makeKey(network, { owner: 'rival', scopes: [...scopes] }),
  ];
  const own = async ({ call }: typeof acme) =>
    network.rawAgent({ enrollment_token: (await call(createEnrollmentToken, { body: {} })).enrollment_token });
  const [mine] = [await own(acme), await own(rival)];
  const shared = await network.rawAgent({ enrollment_token: await network.enrol({ serves: 'all' }) });
  const { candidates, owner } = await acme.call(previewRouting, { body: { task_type: 'work' } });
  expect(owner).toBe('acme');
  const hidden = { slots_free: null, trust_score: null, integrity_at_least: null, score: null };
  const byId = Object.fromEntries(candidates.map((it) => [it.agent_id, it]));
  expect(byId).toMatchObject({ [mine.agentId]: { trust_score: 0.5, slots_free: 1 }, [shared.agentId]: hidden });
  expect(candidates).toHaveLength(2);
  const body = { task_type: 'work', owner: 'acme' };
  await expect(rival.call(previewRouting, { body })).rejects.toMatchObject({
    code: 'insufficient-scope',
    message: expect.stringContaining('acme'),
  });
  const asAdmin = await network.admin(previewRouting, { body });
  expect(asAdmin.candidates.map((it) => it.agent_id).sort()).toEqual([mine.agentId, shared.agentId].sort());
  expect(asAdmin.candidates.map((it) => it.trust_score)).toEqual([0.5, 0.5]);
});

test('by speed a task goes to the one that took the shortest time lately, whoever came first; who has not worked yet is tried before', async () => {
  const network = await startNetwork();
  const task = { task_type: 'work', input_data: null, routing: 'fastest_response' } as const;
  const [slow, fast] = [await network.rawAgent(), await network.rawAgent()];
  for (const [agent, took] of [
    [slow, '40s'],
    [fast, '10s'],
  ] as const) {
    await network.submit({ ...task, routing: 'trust_weighted' });
    const run = await agent.take();
    await network.clock.advance(took);
    await agent.complete(run);
  }
  const polls = await waiting(network, 'work', [slow, fast]);
  // They wait since before anybody asked how fast they are.
  await network.submit({ ...task, run_at: '2999-01-01T00:00:00Z' });
  const found = await eventually(async () => {
    const line = await preview(network, { task_type: 'work', routing: 'fastest_response' });
    expect(inLine(line)).toEqual([fast.agentId, slow.agentId]);
    return line;
  });
  const [first, second] = found.candidates.map((it) => it.score!);
  expect(first).toBeGreaterThanOrEqual(10_000);
  expect(second).toBeGreaterThanOrEqual(40_000);
  const task_id = await network.submit(task);
  expect((await polls.get(fast)!).runs).toMatchObject([{ task_id }]);
  const newcomer = await network.rawAgent();
  const later = await waiting(network, 'work', [newcomer]);
  const tried = await network.submit(task);
  expect((await later.get(newcomer)!).runs).toMatchObject([{ task_id: tried }]);
});

/** What an agent of a random fleet is and has shown: its dependable runs, right at a gate of 0.8, just below it, or none. */
const member = fc.record({
  slots: fc.integer({ min: 1, max: 3 }),
  zone: fc.constantFrom('eu', 'us', ''),
  dependable: fc.constantFrom(0, 2.9999975, 3),
  right: fc.constantFrom(0, 10),
  standing: fc.constantFrom(
    'NEWCOMER',
    'NEWCOMER',
    'NEWCOMER',
    'TRUSTED',
    'TRUSTED',
    'PROBATION',
    'QUARANTINED',
    'BANNED',
  ),
  cordoned: fc.constantFrom(false, false, false, true),
  waits: fc.constantFrom(true, true, true, false),
});
const labels = (zone: string) => fc.constantFrom<Record<string, string>[]>({}, {}, { zone });
const settings = fc.record({
  labels_required: labels('eu'),
  labels_preferred: labels('us'),
  slot_cost: fc.constantFrom(1, 1, 2),
  min_trust: fc.constantFrom(0, 0, 0.5, 0.8),
  min_integrity: fc.constantFrom(0, 0, 0.7),
  routing: fc.constantFrom(...ROUTINGS),
});

const OPEN = {
  slots: 1,
  zone: '',
  dependable: 0,
  right: 0,
  standing: 'NEWCOMER',
  cordoned: false,
  waits: true,
} as const;
const ANY = {
  labels_required: {},
  labels_preferred: {},
  slot_cost: 1,
  min_trust: 0,
  min_integrity: 0,
  routing: 'least_loaded',
} as const;
/** A task for the first of two that wait, one for the other, one for who has to ask, one for nobody. */
const EVERY_END: { members: Of<typeof member>[]; tasks: Of<typeof settings>[] } = {
  members: [
    { ...OPEN, slots: 3 },
    { ...OPEN, slots: 2 },
    { ...OPEN, zone: 'eu', waits: false },
  ],
  tasks: [ANY, ANY, { ...ANY, labels_required: { zone: 'eu' } }, { ...ANY, min_integrity: 0.7 }],
};

type Of<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Asked = Of<typeof settings> & { task_type: string };

/** Agents whose polls wait, or will be made when it is their turn. */
interface Fleet {
  network: TestNetwork;
  agents: Map<string, RawAgent>;
  /** Slots each has left. */
  left: Map<string, number>;
  polls: Map<string, ReturnType<RawAgent['poll']>>;
  end: AbortController;
}

/** Nothing fades before a day is over: scores are exactly what they are at a gate. */
async function recruit(
  { network, agents, left }: Fleet,
  enrollment_token: string,
  capability: string,
  it: Of<typeof member>,
) {
  const agent = await network.rawAgent({ enrollment_token, capabilities: [capability], slots: it.slots });
  agents.set(agent.agentId, agent);
  left.set(agent.agentId, it.slots);
  const labels = it.zone ? { zone: it.zone } : {};
  await network.sql`
    with made as (update agents set labels = ${network.sql.json(labels)} where agent_id = ${agent.agentId}),
    lasting as (update presence set lease_expires_at = lease_expires_at + interval '1 day' where agent_id = ${agent.agentId}),
    dependable as (
      insert into trust (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
      values (${agent.agentId}, ${capability}, ${it.dependable}, 0, 3, 0, 0, 0, 3, muster_now() + interval '1 day'))
    insert into integrity (agent_id, capability, "right", wrong, checked_at, streak, faults, standing, quarantined_until, quarantines, fold_seq, updated_at)
    values (${agent.agentId}, ${capability}, ${it.right}, 0, muster_now() + interval '1 day', 0, 0, ${it.standing},
      ${it.standing === 'QUARANTINED' ? network.sql`muster_now() + interval '1 day'` : null}, 1, 0, muster_now())`;
  if (it.cordoned) await network.admin(cordonAgent, { params: { agent_id: agent.agentId } });
  return agent.agentId;
}

/** Lets an agent wait for as much as it has room for. */
function park({ agents, left, polls, end }: Fleet, agentId: string): void {
  polls.delete(agentId);
  const slots = left.get(agentId)!;
  if (slots === 0) return;
  const poll = agents.get(agentId)!.poll({ wait_ms: 30_000, slots }, { signal: end.signal });
  poll.catch(() => {});
  polls.set(agentId, poll);
}

const verdicts = (candidates: readonly { agent_id: string; able: boolean; reason: string | null }[]) =>
  Object.fromEntries(candidates.map(({ agent_id, able, reason }) => [agent_id, able ? 'able' : reason]));

/** Who may be given it, in order and with all that is said. */
const ableIn = ({ agent_id, candidates }: Preview) => [agent_id, candidates.filter((it) => it.able)];

/** What is previewed, once all who are to wait do. */
const previewOf = (fleet: Fleet, body: Asked): Promise<Preview> =>
  eventually(async () => {
    const seen = await fleet.network.admin(previewRouting, { body });
    for (const { agent_id, able, waits } of seen.candidates) if (able) expect(waits).toBe(fleet.polls.has(agent_id));
    return seen;
  });

/** Previews, explains and submits a task, and looks who is given it. Answers to whom it went: one that waited, one that asked, or nobody. */
async function compare(fleet: Fleet, body: Asked): Promise<'waiting' | 'asking' | 'nobody'> {
  const { network, agents, left, polls } = fleet;
  const unmade = await previewOf(fleet, body);
  const task = { ...body, input_data: null };
  const later = await network.submit({ ...task, run_at: '2099-01-01T00:00:00Z' });
  const found = await preview(network, body);
  const explained = await network.admin(explainTask, { params: { task_id: later } });
  expect(verdicts(found.candidates)).toEqual(verdicts(explained.candidates));
  // Of requirements that nobody had before the same is said as of those that somebody had.
  const isDrawn = body.routing === 'trust_weighted';
  expect(verdicts(found.candidates)).toEqual(verdicts(unmade.candidates));
  if (!isDrawn) expect(ableIn(found)).toEqual(ableIn(unmade));
  await network.cancel(later);

  const task_id = await network.submit(task);
  const able = found.candidates.filter((it) => it.able).map((it) => it.agent_id);
  const take = (agentId: string) => left.set(agentId, left.get(agentId)! - body.slot_cost);
  if (found.agent_id === null) {
    expect(inLine(found)).toEqual([]);
    for (const [agentId, agent] of agents) {
      if (able.includes(agentId)) continue;
      expect((await agent.poll({ slots: 3 })).runs).toEqual([]);
      if (polls.has(agentId)) park(fleet, agentId);
    }
    const [taker] = able;
    if (taker === undefined) {
      await network.cancel(task_id);
      return 'nobody';
    }
    expect((await agents.get(taker)!.poll({ slots: 1 + body.slot_cost })).runs).toMatchObject([{ task_id }]);
    take(taker);
    return 'asking';
  }
  const agent_id = await eventually(async () => {
    const now = await network.admin(explainTask, { params: { task_id } });
    expect(now.place).toBe('leased');
    return now.agent_id!;
  });
  // What is drawn is drawn anew; of tasks of several slots two claims are made at a time.
  const chosen = isDrawn || body.slot_cost > 1 ? inLine(found) : [found.agent_id];
  expect(chosen).toContain(agent_id);
  expect((await polls.get(agent_id)!).runs).toMatchObject([{ task_id }]);
  take(agent_id);
  park(fleet, agent_id);
  return 'waiting';
}

test('what a claim gives is what a preview said, and both are what an explanation says', async () => {
  const network = await startNetwork();
  const enrollment_token = await network.enrol();
  const ends = new Set<string>();
  let fleets = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(member, { minLength: 2, maxLength: 4 }),
      fc.array(settings, { minLength: 2, maxLength: 3 }),
      async (members, tasks) => {
        fleets += 1;
        const task_type = `work-${fleets}`;
        const fleet: Fleet = {
          network,
          agents: new Map(),
          left: new Map(),
          polls: new Map(),
          end: new AbortController(),
        };
        for (const it of members) {
          const agentId = await recruit(fleet, enrollment_token, task_type, it);
          if (it.waits) park(fleet, agentId);
        }
        for (const it of tasks) ends.add(await compare(fleet, { task_type, ...it }));
        fleet.end.abort();
        await Promise.allSettled(fleet.polls.values());
      },
    ),
    { numRuns: 8, endOnFailure: true, examples: [[EVERY_END.members, EVERY_END.tasks]] },
  );
  expect(ends).toEqual(new Set(['waiting', 'asking', 'nobody']));
}, 60_000);
