import * as agents from '@muster/shared/contract/agents';
import * as enrollment from '@muster/shared/contract/enrollment';
import { newId } from '@muster/shared/ids';
import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';

test("an admin's drain and cordon outlast the agent's restarts, until the admin ends them", async () => {
  const network = await startNetwork();
  const enrollment_token = await network.enrol();
  const agent = await network.rawAgent({ enrollment_token });
  const params = { agent_id: agent.agentId };
  const mode = async () => (await network.admin(agents.getAgent, { params })).mode;
  for (const [verb, expected] of [
    [agents.drainAgent, 'DRAINING'],
    [agents.cordonAgent, 'CORDONED'],
  ] as const) {
    await network.admin(agents.uncordonAgent, { params });
    await network.admin(verb, { params });
    await agent.assert(newId('boot'));
    expect(await mode()).toBe(expected);
    agent.bootId = newId('boot');
    await agent.register({ enrollment_token, capabilities: ['work'] });
    expect(await mode()).toBe(expected);
    await network.submit({ task_type: 'work', input_data: null });
    expect((await agent.poll()).runs).toEqual([]);
  }
  await network.admin(agents.uncordonAgent, { params });
  expect((await agent.poll()).runs).toHaveLength(1);
});

test('a key that is known gets nowhere with an enrolment token that was revoked', async () => {
  const network = await startNetwork();
  const made = await network.admin(enrollment.createEnrollmentToken, { body: { max_uses: 5 } });
  const registration = { enrollment_token: made.enrollment_token, capabilities: ['work'] };
  const agent = await network.rawAgent(registration);
  await agent.register(registration);
  await network.admin(enrollment.revokeEnrollmentToken, { params: { enrollment_token_id: made.enrollment_token_id } });
  agent.bootId = newId('boot');
  await expect(agent.register(registration)).rejects.toMatchObject({ code: 'enrollment-token-invalid', status: 401 });
  // It is who it was: its key still buys tokens.
  await agent.assert(newId('boot'));
  expect(await agent.beat()).toMatchObject({ acknowledged: true });
});

test('a new life is told as one, a renewed token is not', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const booted = async () => {
    const [row] = await network.sql<{ n: number }[]>`
      select count(*)::int as n from events where kind = 'agent.booted' and ${agent.agentId} = any(subject_ids)`;
    return row!.n;
  };
  const before = await booted();
  for (let n = 0; n < 3; n += 1) await agent.assert();
  expect(await booted()).toBe(before);
  await agent.assert(newId('boot'));
  await agent.assert();
  expect(await booted()).toBe(before + 1);
});

test('an agent that starts again and again is told to wait', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  for (let n = 0; n < 60; n += 1) await agent.assert(newId('boot'));
  await expect(agent.assert(newId('boot'))).rejects.toMatchObject({ code: 'rate-limited' });
  // The life it has goes on.
  await agent.assert();
  await agent.beat();
});
