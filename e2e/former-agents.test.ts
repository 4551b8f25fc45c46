import * as agents from '@muster/shared/contract/agents';
import { getTrust, getTrustHistory } from '@muster/shared/contract/trust';
import { newId } from '@muster/shared/ids';
import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

/** All an agent's token is good for beside the protocol. */
const words = ({ call, agentId }: RawAgent): Record<string, () => Promise<unknown>> => {
  const params = { agent_id: agentId };
  return {
    getAgent: () => call(agents.getAgent, { params }),
    updateAgent: () => call(agents.updateAgent, { params, body: { display_name: 'still here' } }),
    getCapabilities: () => call(agents.getCapabilities, { params }),
    putCapabilities: () => call(agents.putCapabilities, { params, body: { capabilities: ['root'] } }),
    getTrust: () => call(getTrust, { params }),
    getTrustHistory: () => call(getTrustHistory, { params, query: {} }),
  };
};

async function expectRefused(agent: RawAgent, problem: { code: string; status: number }) {
  for (const [name, say] of Object.entries({ ...words(agent), beat: () => agent.beat(), poll: () => agent.poll() }))
    await expect(say(), name).rejects.toMatchObject(problem);
}

test('an agent may look at itself and change itself as long as it is who it is, and no longer', async () => {
  const network = await startNetwork();
  const look = async ({ agentId }: RawAgent) => {
    const { display_name, capabilities, mode } = await network.admin(agents.getAgent, {
      params: { agent_id: agentId },
    });
    return { display_name, capabilities, mode };
  };
  const [revoked, left, older] = [await network.rawAgent(), await network.rawAgent(), await network.rawAgent()];
  for (const [name, say] of Object.entries(words(revoked))) await expect(say(), name).resolves.toBeDefined();

  await network.admin(agents.deleteAgent, { params: { agent_id: revoked.agentId } });
  await expectRefused(revoked, { code: 'token-revoked', status: 401 });
  expect(await look(revoked)).toEqual({ display_name: 'still here', capabilities: ['root'], mode: 'REVOKED' });

  await left.leave();
  await expectRefused(left, { code: 'stale-lease', status: 409 });
  expect(await look(left)).toEqual({ display_name: 'raw', capabilities: ['work'], mode: 'OPEN' });

  const former = { token: older.token, bootId: older.bootId };
  await older.assert(newId('boot'));
  await older.call(agents.updateAgent, { params: { agent_id: older.agentId }, body: { display_name: 'young' } });
  Object.assign(older, former);
  await expectRefused(older, { code: 'stale-lease', status: 409 });
  expect(await look(older)).toEqual({ display_name: 'young', capabilities: ['work'], mode: 'OPEN' });
});

test('an agent that left comes back as a new life, not as the one that said goodbye', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  await agent.leave();
  await agent.assert(newId('boot'));
  await agent.beat();
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  expect(await agent.take()).toMatchObject({ task_id });
});

test('a life that has left cannot buy a token again; a new one can', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  await agent.leave();
  await expect(agent.assert()).rejects.toMatchObject({ code: 'stale-lease', status: 409 });
  await agent.assert(newId('boot'));
  expect((await agent.poll()).runs).toEqual([]);
});
