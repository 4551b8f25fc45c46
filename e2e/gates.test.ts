import { explainTask, getWorkload } from '@muster/shared/contract/queue';
import { triggerSchedule } from '@muster/shared/contract/schedule-operations';
import { createSchedule, getSchedule } from '@muster/shared/contract/schedules';
import { adjustTrust, banAgent, getTrust, quarantineAgent, releaseAgent } from '@muster/shared/contract/trust';
import { expect, test } from 'vitest';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';
import { hourly } from './fixtures/schedules.ts';

const work = { task_type: 'work', input_data: null };
const adjust = (network: TestNetwork, { agentId: agent_id }: RawAgent, delta: number) =>
  network.admin(adjustTrust, { params: { agent_id }, body: { capability: 'work', delta, reason: 'for the test' } });
const scoreOf = async (network: TestNetwork, { agentId: agent_id }: RawAgent) =>
  (await network.admin(getTrust, { params: { agent_id } })).trust_score;
const offered = async (agent: RawAgent) => (await agent.poll()).runs.map((run) => run.task_id);
const explained = async (network: TestNetwork, task_id: string) => {
  const { candidates } = await network.admin(explainTask, { params: { task_id } });
  return Object.fromEntries(candidates.map(({ agent_id, reason }) => [agent_id, reason]));
};

test('a task with a gate of trust waits for an agent that passes, and goes to it', async () => {
  const network = await startNetwork();
  const [newcomer, trusted] = [await network.rawAgent(), await network.rawAgent()];
  await adjust(network, trusted, 0.3);
  const task_id = await network.submit({ ...work, min_trust: 0.7 });
  expect(await network.task(task_id)).toMatchObject({ min_trust: 0.7, min_integrity: 0, routing: 'trust_weighted' });
  expect(await offered(newcomer)).toEqual([]);
  expect(await explained(network, task_id)).toEqual({
    [newcomer.agentId]: 'trust 0.5 is below 0.7',
    [trusted.agentId]: null,
  });
  const ready = async ({ agentId }: RawAgent) =>
    (await network.admin(getWorkload, { params: { agent_id: agentId } })).capabilities.map((it) => it.ready);
  expect([await ready(newcomer), await ready(trusted)]).toEqual([[], [1]]);
  expect(await offered(trusted)).toEqual([task_id]);
});

test('it goes to the one of those that wait that passes, whoever came first', async () => {
  const network = await startNetwork();
  const [newcomer, trusted] = [await network.rawAgent(), await network.rawAgent()];
  await adjust(network, trusted, 0.3);
  const waiting = newcomer.poll({ wait_ms: 1_500 });
  const taking = trusted.take();
  await network.coordinator.tick();
  const task_id = await network.submit({ ...work, min_trust: 0.7 });
  expect((await taking).task_id).toBe(task_id);
  expect((await waiting).runs).toEqual([]);
});

test('work of its own opens a gate to an agent, and closes it, at once', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const gated = { ...work, min_trust: 0.6 };
  const first = await network.submit(gated);
  expect(await offered(agent)).toEqual([]);
  await network.submit(work);
  await agent.complete(await agent.take());
  expect(await scoreOf(network, agent)).toBeCloseTo(2 / 3, 6);
  const run = await agent.take();
  expect(run.task_id).toBe(first);
  await agent.complete(run);
  await network.submit({ ...work, max_retries: 0 });
  await agent.fail(await agent.take());
  const second = await network.submit(gated);
  expect(await offered(agent)).toEqual([]);
  expect(await explained(network, second)).toEqual({ [agent.agentId]: 'trust 0.59 is below 0.6' });
});

test('a poll that waits hears of it when its agent comes to pass a gate, or not to any more', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  const task_id = await network.submit({ ...work, min_trust: 0.7 });
  const raised = agent.poll({ wait_ms: 10_000 });
  await network.coordinator.tick();
  await adjust(network, agent, 0.3);
  // It is told to ask again.
  expect((await raised).runs).toEqual([]);
  expect(await offered(agent)).toEqual([task_id]);
  const lowered = agent.poll({ wait_ms: 1_500 });
  await network.coordinator.tick();
  await adjust(network, agent, -0.3);
  const another = await network.submit({ ...work, min_trust: 0.7 });
  expect((await lowered).runs).toEqual([]);
  expect(await offered(agent)).toEqual([]);
  expect((await network.task(another)).status).toBe('PENDING');
});

test('what was shown elsewhere is learned by looking', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ ...work, min_trust: 0.7 });
  const waiting = agent.poll({ wait_ms: 10_000 });
  await network.coordinator.tick();
  // As another coordinator would write it, whose word about it got lost.
  await network.sql`
    insert into trust (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
    values (${agent.agentId}, 'work', 9, 0, 9, 0, 0, 0, 9, muster_now())`;
  expect((await waiting).runs).toEqual([]);
  expect(await offered(agent)).toEqual([task_id]);
});

test('what others found right opens a gate of integrity, to just as much as is certain; own work does not', async () => {
  const network = await startNetwork();
  const [checked, own] = [await network.rawAgent(), await network.rawAgent()];
  // Found right ten times: with 95 % certainty it is right in 0.05 ^ (1 / 11) of all cases, 0.76159.
  await network.sql`
    insert into integrity (agent_id, capability, "right", wrong, checked_at, streak, faults, standing, quarantines, fold_seq, updated_at)
    select ${checked.agentId}, 'work', 10, 0, muster_now() + interval '1 day', 10, 0, 'TRUSTED', 0, 0, muster_now()`;
  for (let n = 0; n < 5; n += 1) {
    await network.submit(work);
    await own.complete(await own.take());
  }
  const closed = await network.submit({ ...work, min_integrity: 0.7616 });
  expect([await offered(own), await offered(checked)]).toEqual([[], []]);
  expect(await explained(network, closed)).toEqual({
    [own.agentId]: 'integrity 0.05 is below 0.7616',
    [checked.agentId]: 'integrity 0.76 is below 0.7616',
  });
  const open = await network.submit({ ...work, min_integrity: 0.7615 });
  expect([await offered(own), await offered(checked)]).toEqual([[], [open]]);
});

test('who is quarantined or banned is given nothing, whether it asks or waits; who is on probation works', async () => {
  const network = await startNetwork();
  const said = {
    NEWCOMER: [],
    PROBATION: [quarantineAgent, releaseAgent],
    QUARANTINED: [quarantineAgent],
    BANNED: [banAgent],
  };
  for (const [standing, verbs] of Object.entries(said)) {
    const task = { ...work, task_type: `for-${standing}` };
    const agent = await network.rawAgent({ capabilities: [task.task_type], slots: 2 });
    const params = { agent_id: agent.agentId };
    for (const verb of verbs)
      await network.admin(verb as typeof banAgent, {
        params,
        body: { capability: task.task_type, reason: 'for the test' },
      });
    expect((await network.admin(getTrust, { params })).standing).toBe(standing);
    const works = standing === 'NEWCOMER' || standing === 'PROBATION';
    const asked = await network.submit(task);
    expect(await offered(agent)).toEqual(works ? [asked] : []);
    const waiting = agent.poll({ wait_ms: works ? 20_000 : 400 });
    await network.coordinator.tick();
    const waited = await network.submit(task);
    expect((await waiting).runs.map((run) => run.task_id)).toEqual(works ? [waited] : []);
    const reasons = await explained(network, await network.submit({ ...task, run_at: '2099-01-01T00:00:00Z' }));
    expect(reasons[agent.agentId]).toBe(works ? 'has no free slot' : `is ${standing} in ${task.task_type}`);
  }
});

test('the gates of a schedule are those of its tasks', async () => {
  const network = await startNetwork();
  const gates = { min_trust: 0.7, min_integrity: 0, routing: 'least_loaded' } as const;
  const { schedule_id } = await network.admin(createSchedule, { body: hourly(gates) });
  const params = { schedule_id };
  expect(await network.admin(getSchedule, { params })).toMatchObject(gates);
  const { task_id } = await network.admin(triggerSchedule, { params });
  expect(await network.task(task_id!)).toMatchObject(gates);
  const agent = await network.rawAgent();
  expect(await offered(agent)).toEqual([]);
  await adjust(network, agent, 0.3);
  expect(await offered(agent)).toEqual([task_id]);
});
