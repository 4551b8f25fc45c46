import { listAgents, listEnrollmentTokens, revokeEnrollmentToken, updateAgent } from '@muster/shared/contract/agents';
import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

const INVALID = { code: 'enrollment-token-invalid', status: 401 };

test('of fifty agents that race for the last use of a token exactly one gets in', async () => {
  const network = await startNetwork();
  const enrollment_token = await network.enrol({ max_uses: 1 });
  const tries = await Promise.allSettled(
    Array.from({ length: 50 }, () =>
      RawAgent.register(
        { url: network.url, now: () => network.clock.now() },
        { enrollment_token, capabilities: ['work'] },
      ),
    ),
  );
  const refused = tries.filter((it): it is PromiseRejectedResult => it.status === 'rejected');
  expect(tries.length - refused.length).toBe(1);
  for (const { reason } of refused) expect(reason).toMatchObject(INVALID);
  expect((await network.admin(listAgents, {})).data).toHaveLength(1);
  const { data } = await network.admin(listEnrollmentTokens, {});
  expect(data).toMatchObject([{ uses: 1, max_uses: 1 }]);
  // What is listed is what is known of a token, never the token.
  expect(JSON.stringify(data)).not.toContain(enrollment_token.split('.')[2]);
});

test('a token that is revoked, expired, used up or not ours answers alike', async () => {
  const network = await startNetwork();
  const options = { url: network.url, now: () => network.clock.now() };
  const register = (enrollment_token: string) =>
    RawAgent.register(options, { enrollment_token, capabilities: ['work'] });
  const usedUp = await network.enrol({ max_uses: 1 });
  await register(usedUp);
  const revoked = await network.enrol();
  const newest = (await network.admin(listEnrollmentTokens, { query: { limit: 1 } })).data[0];
  await network.admin(revokeEnrollmentToken, { params: { enrollment_token_id: newest?.enrollment_token_id ?? '' } });
  const short = await network.enrol({ ttl_seconds: 60 });
  const [head, body] = usedUp.split('.');
  const answers = [];
  for (const token of [usedUp, revoked, 'not.a.token', `${head}.${body}.${'A'.repeat(86)}`, network.adminKey]) {
    answers.push(await register(token).catch((problem) => problem));
  }
  await network.clock.advance('2m');
  answers.push(await register(short).catch((problem) => problem));
  for (const problem of answers) expect(problem).toMatchObject(INVALID);
  expect(new Set(answers.map((problem) => problem.message)).size).toBe(1);
  expect((await network.admin(listAgents, {})).data).toHaveLength(1);
});

test('an agent is never more than it was enrolled for, now or later', async () => {
  const network = await startNetwork();
  const options = { url: network.url, now: () => network.clock.now() };
  const enrollment_token = await network.enrol({ capabilities: ['work', 'draw:v1'], max_slots: 2 });
  const beyond = { code: 'insufficient-scope', status: 403 };
  for (const wish of [
    { capabilities: ['rule'] },
    { capabilities: ['draw:v2'] },
    { capabilities: ['work'], slots: 3 },
  ]) {
    await expect(RawAgent.register(options, { enrollment_token, ...wish })).rejects.toMatchObject(beyond);
  }
  const agent = await RawAgent.register(options, { enrollment_token, capabilities: ['work:v7', 'draw:v1'], slots: 2 });
  const params = { agent_id: agent.agentId };
  await expect(agent.call(updateAgent, { params, body: { slots: 3 } })).rejects.toMatchObject(beyond);
  // A use is counted only where an agent came of it.
  expect((await network.admin(listEnrollmentTokens, {})).data).toMatchObject([{ uses: 1 }]);
});

test('a key that registers again is the same agent, in a new life, and costs no use', async () => {
  const network = await startNetwork();
  const enrollment_token = await network.enrol({ max_uses: 1 });
  const agent = await RawAgent.register(
    { url: network.url, now: () => network.clock.now() },
    { enrollment_token, capabilities: ['work'] },
  );
  const before = agent.agentId;
  await agent.register({ enrollment_token, capabilities: ['work', 'more'], display_name: 'renamed' });
  expect(agent.agentId).toBe(before);
  const { data } = await network.admin(listAgents, {});
  expect(data).toMatchObject([{ agent_id: before, display_name: 'renamed', capabilities: ['work', 'more'] }]);
});
