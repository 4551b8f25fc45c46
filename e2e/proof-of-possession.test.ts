import * as agents from '@muster/shared/contract/agents';
import { newId } from '@muster/shared/ids';
import { startCoordinator, type TestCoordinator } from '@muster/testing';
import { newKey, publicJwk, signed } from '@muster/testing/jwt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { networkAt, startNetwork, type TestNetwork } from './fixtures/network.ts';
import { RawAgent, sha256 } from './fixtures/raw-agent.ts';

type Request = { method: string; url: string; token: string };
type Over = Parameters<RawAgent['proofOf']>[1];

const bound = (network: TestNetwork) => network.rawAgent({}, undefined, { dpop: true });

/** Looks at the agent, by whatever headers. */
async function look({ url }: { url: string }, { agentId }: RawAgent, headers: Record<string, string>) {
  const response = await fetch(`${url}/ains/agents/${agentId}`, { headers });
  const body = (await response.json()) as { code?: string; detail?: string };
  return { status: response.status, code: body.code, challenge: response.headers.get('www-authenticate') };
}

const requestOf = ({ url }: { url: string }, { agentId, token }: RawAgent): Request => ({
  method: 'GET',
  url: `${url}/ains/agents/${agentId}`,
  token,
});
const dpop = (agent: RawAgent, proof: string) => ({ authorization: `DPoP ${agent.token}`, dpop: proof });
const INVALID = { status: 401, code: 'invalid-proof', challenge: expect.stringMatching(/^DPoP /) };

test('an agent that proves its key does all it does with a token nobody else can use', async () => {
  const network = await startNetwork();
  const agent = await bound(network);
  const [, claims] = agent.token.split('.');
  expect(JSON.parse(Buffer.from(claims!, 'base64url').toString())).toMatchObject({
    cnf: { jkt: sha256(JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x: publicJwk(agent.key).x })) },
    epoch: 0,
  });
  await agent.assert();
  const task_id = await network.submit({ task_type: 'work', input_data: 7 });
  const run = await agent.take();
  await agent.start(run);
  await agent.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] });
  expect(await agent.complete(run, 'done')).toMatchObject({ applied: true });
  expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', result_data: 'done' });
  await agent.leave();
});

test('what is sold says what it is', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const body = async () => ({ assertion: await agent.assertionOf() });
  const params = { agent_id: agent.agentId };
  expect(await agent.call(agents.createAccessToken, { params, body: await body() })).toMatchObject({
    token_type: 'Bearer',
  });
  const request = { method: 'POST', url: `${network.url}/ains/agents/${agent.agentId}/token` };
  const headers = { dpop: await agent.proofOf(request) };
  expect(await agent.call(agents.createAccessToken, { params, body: await body() }, { headers })).toMatchObject({
    token_type: 'DPoP',
  });
});

describe('a token that is bound', () => {
  let network: TestCoordinator;
  let agent: RawAgent;
  beforeAll(async () => {
    network = await startCoordinator();
    const { url, adminKey, clock } = network;
    const enrollment_token = await networkAt(url, adminKey).enrol();
    agent = await RawAgent.register(
      { url, now: () => clock.now(), dpop: true },
      { enrollment_token, capabilities: ['work'] },
    );
  });
  afterAll(() => network.stop());

  test('is refused as Bearer, and one that is not as DPoP', async () => {
    const { url, adminKey, clock } = network;
    const registration = { enrollment_token: await networkAt(url, adminKey).enrol(), capabilities: ['work'] };
    const free = await RawAgent.register({ url, now: () => clock.now() }, registration);
    const proof = () => agent.proofOf(requestOf(network, agent));
    expect(await look(network, agent, { authorization: `Bearer ${agent.token}` })).toEqual(INVALID);
    expect(await look(network, agent, { authorization: `Bearer ${agent.token}`, dpop: await proof() })).toEqual(
      INVALID,
    );
    expect(await look(network, agent, { 'x-api-key': agent.token, dpop: await proof() })).toEqual(INVALID);
    expect(await look(network, agent, { authorization: `DPoP ${agent.token}` })).toEqual(INVALID);
    expect(await look(network, free, dpop(free, await free.proofOf(requestOf(network, free))))).toEqual(INVALID);
    const lower = { authorization: `dpop ${agent.token}`, dpop: await proof() };
    expect(await look(network, agent, lower)).toMatchObject({ status: 200 });
  });

  const other = newKey();
  test.each<[string, (request: Request, agent: RawAgent, now: number) => Over]>([
    ['another key', () => ({ key: other })],
    ['the key of another in its header', () => ({ header: { jwk: publicJwk(other) } })],
    ['the private key in its header', (_, { key }) => ({ header: { jwk: key } })],
    ['no key in its header', () => ({ header: { jwk: undefined } })],
    [
      'a key that anybody can sign by',
      () => ({ header: { jwk: { kty: 'OKP', crv: 'Ed25519', x: `AQ${'A'.repeat(41)}` } } }),
    ],
    ['another typ', () => ({ header: { typ: 'JWT' } })],
    ['the typ of an assertion', () => ({ header: { typ: 'agent-assertion+jwt' } })],
    ['no alg', () => ({ header: { alg: 'none' } })],
    ['an alg of another kind', () => ({ header: { alg: 'HS256' } })],
    ['crit', () => ({ header: { crit: ['exp'] } })],
    ['a kid', () => ({ header: { kid: 'x' } })],
    ['jku', () => ({ header: { jku: 'http://127.0.0.1/' } })],
    ['another method', () => ({ claims: { htm: 'POST' } })],
    ['the method in small letters', () => ({ claims: { htm: 'get' } })],
    ['no method', () => ({ claims: { htm: undefined } })],
    ['another path', ({ url }) => ({ claims: { htu: `${url}/poll` } })],
    ['a slash at the end', ({ url }) => ({ claims: { htu: `${url}/` } })],
    ['a path in capitals', ({ url }) => ({ claims: { htu: url.replace('agents', 'Agents') } })],
    ['a detour', ({ url }) => ({ claims: { htu: url.replace('/ains', '/ains/%2e') } })],
    ['a query', ({ url }) => ({ claims: { htu: `${url}?a=1` } })],
    ['a fragment', ({ url }) => ({ claims: { htu: `${url}#a` } })],
    ['another port', ({ url }) => ({ claims: { htu: url.replace(/:\d+/, ':1') } })],
    ['another host', ({ url }) => ({ claims: { htu: url.replace('127.0.0.1', 'example.com') } })],
    ['another scheme', ({ url }) => ({ claims: { htu: url.replace('http:', 'https:') } })],
    ['no URL', () => ({ claims: { htu: undefined } })],
    ['the time of 61 s ago', (_, __, now) => ({ claims: { iat: now - 61 } })],
    ['the time in 12 s', (_, __, now) => ({ claims: { iat: now + 12 } })],
    ['no time', () => ({ claims: { iat: undefined } })],
    ['a time that is text', (_, __, now) => ({ claims: { iat: String(now) } })],
    ['an end that was', (_, __, now) => ({ claims: { exp: now - 30 } })],
    ['no jti', () => ({ claims: { jti: undefined } })],
    ['a short jti', () => ({ claims: { jti: 'a' } })],
    ['a jti that cannot be kept', () => ({ claims: { jti: 'a\u0000bcdefgh' } })],
    ['no ath', () => ({ claims: { ath: undefined } })],
    ['the ath of another token', () => ({ claims: { ath: sha256('another') } })],
  ])('is refused with a proof that has %s', async (what, over) => {
    const request = requestOf(network, agent);
    const now = Math.floor((await network.clock.now()).getTime() / 1_000);
    const proof = await agent.proofOf(request, over(request, agent, now));
    expect(await look(network, agent, dpop(agent, proof)), what).toEqual(INVALID);
  });

  test.each(['localhost', '[::1]', 'LOCALHOST'])('is taken under %s too, as this machine is called', async (host) => {
    const request = requestOf(network, agent);
    const proof = await agent.proofOf({ ...request, url: request.url.replace('127.0.0.1', host) });
    expect(await look(network, agent, dpop(agent, proof))).toMatchObject({ status: 200 });
  });

  test('is refused with no proof, two, or something else', async () => {
    const request = requestOf(network, agent);
    const proof = () => agent.proofOf(request);
    const [header, claims] = (await proof()).split('.').map((part) => Buffer.from(part, 'base64url').toString());
    const twice = signed(header, claims!.replace('{', '{"htm":"POST",'), agent.key);
    for (const text of [`${await proof()}, ${await proof()}`, 'x', 'a.b.c', agent.token, twice, `${await proof()}=`])
      expect(await look(network, agent, dpop(agent, text)), text).toEqual(INVALID);
  });
});

test('a proof is good once: at every coordinator, also after a restart, also when it comes twice at once', async () => {
  const one = await startNetwork();
  const peer = () => startNetwork({ databaseUrl: one.databaseUrl, env: { MUSTER_PUBLIC_URL: one.url } });
  const other = await peer();
  const agent = await bound(one);
  const proof = () => agent.proofOf(requestOf(one, agent));
  const [first, atOnce] = [await proof(), await proof()];
  expect(await look(one, agent, dpop(agent, first))).toMatchObject({ status: 200 });
  expect(await look(one, agent, dpop(agent, first))).toEqual(INVALID);
  expect(await look(other, agent, dpop(agent, first))).toEqual(INVALID);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => look(n % 2 ? one : other, agent, dpop(agent, atOnce))),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  await one.coordinator.tick();
  await other.coordinator.stop();
  const again = await peer();
  expect(await look(again, agent, dpop(agent, first))).toEqual(INVALID);
  expect(await look(again, agent, dpop(agent, await proof()))).toMatchObject({ status: 200 });
});

test('used proofs are remembered for as long as they would be good, and no longer', async () => {
  const network = await startNetwork();
  const agent = await bound(network);
  const early = await agent.proofOf(requestOf(network, agent));
  expect(await look(network, agent, dpop(agent, early))).toMatchObject({ status: 200 });
  await network.clock.advance('50s');
  expect(await look(network, agent, dpop(agent, early))).toEqual(INVALID);
  await network.clock.advance('10m');
  expect(await network.sql`select * from used_jtis`).toEqual([]);
});

test('a session is bought only with a proof by the key it is for', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const stranger = newKey();
  const at = (path: string) => ({ method: 'POST', url: network.url + path });
  const params = { agent_id: agent.agentId };
  const path = `/ains/agents/${agent.agentId}/token`;
  const buy = async (proof: string) =>
    agent.call(
      agents.createAccessToken,
      { params, body: { assertion: await agent.assertionOf() } },
      { headers: { dpop: proof } },
    );
  const refused = { code: 'invalid-proof', status: 401 };
  await expect(buy(await agent.proofOf(at(path), { key: stranger }))).rejects.toMatchObject(refused);
  await expect(buy(await agent.proofOf(at('/ains/agents')))).rejects.toMatchObject(refused);
  const once = await agent.proofOf(at(path));
  await buy(once);
  await expect(buy(once)).rejects.toMatchObject(refused);

  const enrollment_token = await network.enrol();
  const registration = await agent.registrationOf({ enrollment_token, capabilities: ['work'] });
  const register = (dpop: string) =>
    agent.call(agents.registerAgent, { body: { registration } }, { headers: { dpop } });
  await expect(register(await agent.proofOf(at('/ains/agents'), { key: stranger }))).rejects.toMatchObject(refused);
  await expect(register(await agent.proofOf(at(path)))).rejects.toMatchObject(refused);
  expect(await register(await agent.proofOf(at('/ains/agents')))).toMatchObject({ token_type: 'DPoP' });
});

test('where proofs are required nothing is sold or done without one', async () => {
  const lax = await startNetwork();
  const old = await lax.rawAgent();
  const env = { MUSTER_REQUIRE_DPOP: 'true', MUSTER_ADMIN_KEY: lax.adminKey, MUSTER_PUBLIC_URL: lax.url };
  const strict = await startNetwork({ databaseUrl: lax.databaseUrl, env });
  const refused = { code: 'invalid-proof', status: 401 };
  await expect(strict.rawAgent()).rejects.toMatchObject(refused);
  expect(await look(strict, old, { authorization: `Bearer ${old.token}` })).toEqual(INVALID);
  const response = await fetch(`${strict.url}/ains/agents/${old.agentId}/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ assertion: await old.assertionOf() }),
  });
  expect(await response.json()).toMatchObject(refused);
  const rotation = await fetch(`${strict.url}/ains/agents/${old.agentId}/rotate-key`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(await old.rotationOf(newKey())),
  });
  expect(await rotation.json()).toMatchObject(refused);
  const agent = await bound(lax);
  expect(await look(strict, agent, dpop(agent, await agent.proofOf(requestOf(lax, agent))))).toMatchObject({
    status: 200,
  });
  expect(
    await strict.admin(agents.getAgent, { params: { agent_id: agent.agentId } }),
    'people have keys',
  ).toBeDefined();
});

test('behind a proxy a proof is of the public URL, whatever Host says', async () => {
  const network = await startNetwork({ env: { MUSTER_PUBLIC_URL: 'https://muster.example' } });
  const agent = await network.rawAgent();
  const path = `/ains/agents/${agent.agentId}/token`;
  const buy = async (url: string, host?: string) =>
    agent.call(
      agents.createAccessToken,
      { params: { agent_id: agent.agentId }, body: { assertion: await agent.assertionOf() } },
      { headers: { dpop: await agent.proofOf({ method: 'POST', url: url + path }), ...(host ? { host } : {}) } },
    );
  await expect(buy(network.url)).rejects.toMatchObject({ code: 'invalid-proof' });
  await expect(buy('https://evil.example', 'evil.example')).rejects.toMatchObject({ code: 'invalid-proof' });
  expect(await buy('https://Muster.example:443')).toMatchObject({ token_type: 'DPoP' });
  await agent.assert(newId('boot'));
});
