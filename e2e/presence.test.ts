import { getAgent } from '@muster/shared/contract/agents';
import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';

test('an agent that goes silent is STALE after two missed beats and OFFLINE after three, and ACTIVE with its next beat', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const other = await network.rawAgent();
  const statuses = () =>
    Promise.all(
      [agent, other].map(
        async ({ agentId }) => (await network.admin(getAgent, { params: { agent_id: agentId } })).status,
      ),
    );
  expect(await statuses()).toEqual(['ACTIVE', 'ACTIVE']);
  await network.clock.advance('15s', { beats: 'missed' });
  expect(await statuses()).toEqual(['ACTIVE', 'ACTIVE']);
  await other.beat();
  await network.clock.advance('6s', { beats: 'missed' });
  expect(await statuses()).toEqual(['STALE', 'ACTIVE']);
  await other.beat();
  await network.clock.advance('10s', { beats: 'missed' });
  expect(await statuses()).toEqual(['OFFLINE', 'ACTIVE']);
  expect(await agent.beat()).toMatchObject({ acknowledged: true, lost: [], cancel: [], drain: false });
  expect(await statuses()).toEqual(['ACTIVE', 'ACTIVE']);
});

test('an agent that is offline is given no work until it beats again', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  await network.clock.advance('31s', { beats: 'missed' });
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  expect((await agent.poll()).runs).toEqual([]);
  await agent.beat();
  expect((await agent.poll()).runs).toMatchObject([{ task_id, attempt: 1 }]);
});

test('an agent says itself that it is degraded, and that it is well again', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const health = async () => (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).health;
  await agent.beat({ status: 'DEGRADED' });
  expect(await health()).toBe('DEGRADED');
  await agent.beat({ status: 'ACTIVE' });
  expect(await health()).toBe('OK');
});
