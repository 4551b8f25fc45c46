import * as agents from '@muster/shared/contract/agents';
import { listAgents, searchAgents, updateAgent } from '@muster/shared/contract/agents';
import {
  createEnrollmentToken,
  getEnrollmentToken,
  listEnrollmentTokens,
  revokeEnrollmentToken,
} from '@muster/shared/contract/enrollment';
import { newId } from '@muster/shared/ids';
import { newKey } from '@muster/testing/jwt';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork } from './fixtures/network.ts';
import { RawAgent, thumbprintOf } from './fixtures/raw-agent.ts';

const INVALID = { code: 'enrollment-token-invalid', status: 401 };

test('of fifty agents that race for the last use of a token exactly one gets in', async () => {
  // From fifty addresses: from one, so many that fail are not listened to.
  const network = await startNetwork({ env: { MUSTER_BEHIND_PROXY: 'true' } });
  const enrollment_token = await network.enrol({ max_uses: 1 });
  const now = await network.clock.now();
  const tries = await Promise.allSettled(
    Array.from({ length: 50 }, (_, n) =>
      RawAgent.register(
        { url: network.url, now: () => now, address: `203.0.113.${n}` },
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

test('a key that registers twice at once for the last use is one agent, and neither is refused', async () => {
  const network = await startNetwork();
  for (let n = 0; n < 10; n += 1) {
    const registration = { enrollment_token: await network.enrol({ max_uses: 1 }), capabilities: ['work'] };
    const key = newKey();
    const twins = [0, 1].map(() => new RawAgent({ url: network.url, now: () => network.clock.now() }, key));
    await Promise.all(twins.map((twin) => twin.register(registration)));
    expect(twins[1]!.agentId).toBe(twins[0]!.agentId);
  }
  expect((await network.admin(listAgents, {})).data).toHaveLength(10);
});

test('a registration is used up with its key, also where the key has gone since', async () => {
  const network = await startNetwork();
  const agent = new RawAgent({ url: network.url, now: () => network.clock.now() });
  const enrollment_token = await network.enrol();
  const registration = await agent.registrationOf({ enrollment_token, capabilities: ['work'] });
  const session = await agent.call(agents.registerAgent, { body: { registration } });
  Object.assign(agent, { agentId: session.agent_id, token: session.access_token });
  await agent.rotate();
  await expect(agent.call(agents.registerAgent, { body: { registration } })).rejects.toMatchObject({
    code: 'invalid-token',
    message: expect.stringContaining('was used before'),
  });
  expect((await network.admin(listAgents, {})).data).toHaveLength(1);
});

test('agents are named as their enrolment has it, now and later', async () => {
  const network = await startNetwork();
  const enrollment_token = await network.enrol({ name_pattern: 'build-*.eu' });
  const beyond = { code: 'insufficient-scope', status: 403, message: expect.stringContaining('build-*.eu') };
  for (const display_name of ['build-1', 'Build-1.eu', 'xbuild-1.eu', 'build-1xeu']) {
    await expect(network.rawAgent({ enrollment_token, display_name })).rejects.toMatchObject(beyond);
  }
  const agent = await network.rawAgent({ enrollment_token, display_name: 'build-1.eu' });
  const params = { agent_id: agent.agentId };
  const rename = (display_name: string) => ({ params, body: { display_name } });
  await expect(agent.call(updateAgent, rename('root'))).rejects.toMatchObject(beyond);
  await expect(network.admin(updateAgent, rename('root'))).rejects.toMatchObject(beyond);
  expect(await agent.call(updateAgent, rename('build-2.eu'))).toMatchObject({ display_name: 'build-2.eu' });
  agent.bootId = newId('boot');
  const again = { enrollment_token, capabilities: ['work'], display_name: 'root' };
  await expect(agent.register(again), 'nor in a new life').rejects.toMatchObject(beyond);
  const { data } = await network.admin(listEnrollmentTokens, {});
  expect(data).toMatchObject([{ name_pattern: 'build-*.eu', key_thumbprint: null, uses: 1 }]);
});

test('a token pinned to a key lets in no other, and does not say why', async () => {
  const network = await startNetwork();
  const key = newKey();
  const enrollment_token = await network.enrol({ key_thumbprint: thumbprintOf(key) });
  const invited = new RawAgent({ url: network.url, now: () => network.clock.now() }, key);
  const problem = await network.rawAgent({ enrollment_token }).catch((it) => it);
  const unknown = await network.rawAgent({ enrollment_token: 'a.b.c' }).catch((it) => it);
  expect(problem).toMatchObject(INVALID);
  expect(problem.message).toBe(unknown.message);
  await invited.register({ enrollment_token, capabilities: ['work'] });
  expect(await invited.beat()).toMatchObject({ acknowledged: true });
});

test('an owner lets in agents of its own that do its own work, and sees no others', async () => {
  const network = await startNetwork();
  const [alice, bob] = await Promise.all(
    ['alice', 'bob'].map((owner) => makeKey(network, { owner, scopes: ['agents:admin', 'agents:read'] })),
  );
  const refused = { code: 'insufficient-scope', status: 403 };
  await expect(alice!.call(createEnrollmentToken, { body: { owner: 'bob' } })).rejects.toMatchObject(refused);
  await expect(alice!.call(createEnrollmentToken, { body: { owner: 'admin' } })).rejects.toMatchObject(refused);
  await expect(alice!.call(createEnrollmentToken, { body: { serves: 'all' } })).rejects.toMatchObject(refused);
  const made = await alice!.call(createEnrollmentToken, { body: { owner: 'alice', serves: 'owner' } });
  const params = { enrollment_token_id: made.enrollment_token_id };
  const agent = await network.rawAgent({ enrollment_token: made.enrollment_token });
  const admins = await network.rawAgent();

  const shown = async (call: typeof network.admin) => ({
    tokens: (await call(listEnrollmentTokens, {})).data.map((it) => it.owner),
    agents: (await call(listAgents, {})).data.map((it) => it.agent_id),
    found: (await call(searchAgents, {})).data.map((it) => it.agent_id),
  });
  const own = [agent.agentId];
  expect(await shown(alice!.call)).toEqual({ tokens: ['alice'], agents: own, found: own });
  expect(await shown(bob!.call)).toEqual({ tokens: [], agents: [], found: [] });
  const all = [admins.agentId, agent.agentId];
  expect(await shown(network.admin)).toEqual({ tokens: ['admin', 'alice'], agents: all, found: all });
  const missing = { code: 'not-found', status: 404 };
  await expect(bob!.call(getEnrollmentToken, { params })).rejects.toMatchObject(missing);
  await expect(bob!.call(revokeEnrollmentToken, { params })).rejects.toMatchObject(missing);
  expect(await alice!.call(revokeEnrollmentToken, { params })).toMatchObject({ owner: 'alice', uses: 1 });
});

test('what an admin does to tokens and agents is written down, with what was before and after', async () => {
  const network = await startNetwork();
  const { call, api_key_id } = await makeKey(network, { owner: 'alice', scopes: ['agents:admin', 'agents:read'] });
  const made = await call(createEnrollmentToken, { body: { max_uses: 2, name_pattern: '*' } });
  const agent = await network.rawAgent({ enrollment_token: made.enrollment_token });
  const params = { agent_id: agent.agentId };
  await call(updateAgent, { params, body: { slots: 3 } });
  for (const verb of [agents.cordonAgent, agents.cordonAgent, agents.drainAgent, agents.uncordonAgent])
    await call(verb, { params });
  // What an agent does to itself is no admin's doing.
  await agent.call(updateAgent, { params, body: { slots: 4 } });
  await call(revokeEnrollmentToken, { params: { enrollment_token_id: made.enrollment_token_id } });
  const logs = await network.sql`
    select action, actor, owner, subject_id, before, after from audit_logs where action !~ '^api_key' order by audit_id`;
  const by = { actor: api_key_id, owner: 'alice' };
  expect(logs).toMatchObject([
    { ...by, action: 'enrollment_token.create', subject_id: made.enrollment_token_id, before: null },
    { ...by, action: 'agent.update', subject_id: agent.agentId, before: { slots: 1 }, after: { slots: 3 } },
    { ...by, action: 'agent.cordon', before: { mode: 'OPEN' }, after: { mode: 'CORDONED' } },
    { ...by, action: 'agent.drain', before: { mode: 'CORDONED' }, after: { mode: 'DRAINING' } },
    { ...by, action: 'agent.uncordon', before: { mode: 'DRAINING' }, after: { mode: 'OPEN' } },
    { ...by, action: 'enrollment_token.revoke', before: { revoked_at: null } },
  ]);
  expect(JSON.stringify(logs)).not.toContain(made.enrollment_token.split('.')[2]);
});

test('an address that failed twenty times in a minute is not listened to, good token or not', async () => {
  const network = await startNetwork({ env: { MUSTER_BEHIND_PROXY: 'true' } });
  const enrollment_token = await network.enrol();
  const register = (address: string, token = 'a.b.c') =>
    network.rawAgent({ enrollment_token: token }, undefined, { address });
  for (let n = 0; n < 20; n += 1) {
    await expect(register(`2001:db8::${n}`)).rejects.toMatchObject(INVALID);
    if (n % 5 === 0) await register(`2001:db8::${n}`, enrollment_token);
  }
  await expect(register('2001:db8::99')).rejects.toMatchObject({ code: 'rate-limited', status: 429 });
  await expect(register('2001:db8::99', enrollment_token)).rejects.toMatchObject({ code: 'rate-limited' });
  const answer = await fetch(`${network.url}/ains/agents`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': '203.0.113.1, 2001:db8::1' },
    body: JSON.stringify({ registration: 'x' }),
  });
  expect([answer.status, Number(answer.headers.get('retry-after')) > 0]).toEqual([429, true]);
  await register('2001:db8:0:1::1', enrollment_token);
});
