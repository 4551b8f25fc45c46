import * as keys from '@muster/shared/contract/access';
import { listAgents } from '@muster/shared/contract/agents';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { createTask, getTask, listTasks } from '@muster/shared/contract/tasks';
import { eventually, startCoordinator } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { checkedClient, checkProblem } from './fixtures/checked-client.ts';
import { makeKey } from './fixtures/keys.ts';
import { networkAt, startNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: null };

test('a key is told once, kept as a hash, and listed without its secret', async () => {
  const network = await startNetwork();
  const { api_key, api_key_id } = await makeKey(network, { name: 'CI', scopes: ['tasks:read'], owner: 'acme' });
  expect(api_key).toMatch(/^mk_[0-9a-z]{26}_[0-9A-Za-z]{49}$/);
  expect(api_key).toContain(api_key_id.slice('key_'.length));
  const shown = await network.admin(keys.getApiKey, { params: { api_key_id } });
  expect(shown).toMatchObject({ name: 'CI', owner: 'acme', scopes: ['tasks:read'], requests_per_minute: 6_000 });
  const secret = api_key.slice(api_key.lastIndexOf('_') + 1);
  const kept = JSON.stringify(await network.sql`select * from api_keys, events, audit_logs`);
  const list = JSON.stringify(await network.admin(keys.listApiKeys, {}));
  for (const text of [JSON.stringify(shown), kept, list]) expect(text).not.toContain(secret);
});

test('a key does what its scopes say, with the things of its owner alone', async () => {
  const network = await startNetwork();
  const acme = await makeKey(network, { owner: 'acme', scopes: ['tasks:read', 'tasks:write'] });
  const rival = await makeKey(network, { owner: 'rival', scopes: ['tasks:read', 'tasks:write'] });
  const { task_id } = await acme.call(createTask, { body: work });
  expect(await acme.call(getTask, { params: { task_id } })).toMatchObject({ owner: 'acme' });
  await expect(rival.call(getTask, { params: { task_id } })).rejects.toMatchObject({
    code: 'not-found',
    message: `task ${task_id} does not exist`,
  });
  expect((await rival.call(listTasks, {})).data).toEqual([]);
  expect((await acme.call(listTasks, {})).data).toHaveLength(1);
  expect((await network.admin(listTasks, {})).data).toHaveLength(1);
  await expect(acme.call(listAgents, {})).rejects.toMatchObject({ code: 'insufficient-scope' });
});

test('an agent runs the tasks of its owner, and of everybody only where its enrolment says so', async () => {
  const network = await startNetwork();
  const scopes = ['tasks:read', 'tasks:write', 'agents:admin'] as const;
  const acme = await makeKey(network, { owner: 'acme', scopes: [...scopes] });
  const { enrollment_token } = await acme.call(createEnrollmentToken, { body: { max_uses: 2 } });
  const ours = await network.rawAgent({ enrollment_token });
  await network.submit(work);
  expect((await ours.poll()).runs).toEqual([]);
  const { task_id } = await acme.call(createTask, { body: work });
  expect((await ours.take()).task_id).toBe(task_id);
  const all = await network.rawAgent({ enrollment_token: await network.enrol({ serves: 'all' }) });
  expect((await all.take()).task_type).toBe('work');
  for (const body of [{ serves: 'all' as const }, { owner: 'rival' }])
    await expect(acme.call(createEnrollmentToken, { body })).rejects.toMatchObject({ code: 'insufficient-scope' });
});

test('a key that is not an admin’s makes and touches none that reaches further than itself', async () => {
  const network = await startNetwork();
  const ends = new Date(Date.now() + 3_600_000).toISOString();
  const limits = { requests_per_minute: 100, expires_at: ends, allowed_addresses: ['127.0.0.0/8'] };
  const own = await makeKey(network, { owner: 'acme', scopes: ['keys:admin', 'tasks:read'], ...limits });
  const child = await own.call(keys.createApiKey, { body: { name: 'child', scopes: ['tasks:read'] } });
  expect(child).toMatchObject({ owner: 'acme', ...limits });
  const body = { name: 'wider', scopes: ['tasks:read' as const] };
  for (const wider of [
    { scopes: ['tasks:write' as const] },
    { scopes: ['admin' as const] },
    { owner: 'rival' },
    { requests_per_minute: 101 },
    { expires_at: new Date(Date.parse(ends) + 1_000).toISOString() },
    { allowed_addresses: ['0.0.0.0/0'] },
  ])
    await expect(
      own.call(keys.createApiKey, { body: { ...body, ...wider } }),
      JSON.stringify(wider),
    ).rejects.toMatchObject({ code: 'insufficient-scope' });
  const patch = (params: { api_key_id: string }, change: object) =>
    own.call(keys.updateApiKey, { params, body: change });
  await expect(patch(child, { scopes: ['admin'] })).rejects.toMatchObject({ code: 'insufficient-scope' });
  await expect(patch(child, { expires_at: null })).rejects.toMatchObject({ code: 'insufficient-scope' });
  await expect(patch(child, { allowed_addresses: null })).rejects.toMatchObject({ code: 'insufficient-scope' });
  expect(await patch(child, { name: 'renamed', requests_per_minute: 50 })).toMatchObject({ name: 'renamed' });

  const wide = await makeKey(network, { owner: 'acme', scopes: ['admin'] });
  const params = { api_key_id: wide.api_key_id };
  await expect(own.call(keys.rotateApiKey, { params })).rejects.toMatchObject({ code: 'insufficient-scope' });
  await expect(own.call(keys.revokeApiKey, { params })).rejects.toMatchObject({ code: 'insufficient-scope' });
  expect(await wide.call(keys.getApiKey, { params })).toMatchObject({ revoked_at: null });
});

test('the secret before a rotation makes no key that outlives it, and does not rotate the key away', async () => {
  const network = await startNetwork();
  const former = await makeKey(network, { owner: 'acme', scopes: ['keys:admin', 'tasks:read'] });
  const params = { api_key_id: former.api_key_id };
  const { api_key } = await network.admin(keys.rotateApiKey, { params, body: { overlap_seconds: 60 } });
  const child = await former.call(keys.createApiKey, { body: { name: 'child', scopes: ['tasks:read'] } });
  expect(Date.parse(child.expires_at!)).toBeLessThanOrEqual((await network.clock.now()).getTime() + 60_000);
  const forEver = former.call(keys.updateApiKey, {
    params: { api_key_id: child.api_key_id },
    body: { expires_at: null },
  });
  await expect(forEver).rejects.toMatchObject({ code: 'insufficient-scope' });
  await expect(former.call(keys.rotateApiKey, { params })).rejects.toMatchObject({ code: 'insufficient-scope' });
  const now = checkedClient({ url: network.url, credential: api_key });
  expect((await now(keys.createApiKey, { body: { name: 'c', scopes: ['tasks:read'] } })).expires_at).toBeNull();
});

test('a key is sent as Bearer, whether it is known already or not', async () => {
  const network = await startNetwork();
  const { api_key, call } = await makeKey(network, { scopes: ['tasks:read'] });
  await call(listTasks, {});
  const response = await fetch(`${network.url}/aitp/tasks`, { headers: { authorization: `DPoP ${api_key}` } });
  expect((await checkProblem(response)).code).toBe('invalid-api-key');
});

test('a key ends when it is rotated, revoked or expired: at once', async () => {
  const network = await startNetwork();
  const params = ({ api_key_id }: { api_key_id: string }) => ({ params: { api_key_id } });
  const made = await makeKey(network, { scopes: ['tasks:read'] });
  await made.call(listTasks, {});
  const next = await network.admin(keys.rotateApiKey, params(made));
  await expect(made.call(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
  const rotated = checkedClient({ url: network.url, credential: next.api_key });
  await rotated(listTasks, {});

  const again = await network.admin(keys.rotateApiKey, { ...params(made), body: { overlap_seconds: 60 } });
  const last = checkedClient({ url: network.url, credential: again.api_key });
  await rotated(listTasks, {});
  await last(listTasks, {});
  await network.clock.advance('61s');
  await expect(rotated(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
  await last(listTasks, {});

  const revoked = await network.admin(keys.revokeApiKey, params(made));
  expect(revoked.revoked_at).not.toBeNull();
  await expect(last(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
  expect(await network.admin(keys.revokeApiKey, params(made))).toEqual(revoked);
  await expect(network.admin(keys.rotateApiKey, params(made))).rejects.toMatchObject({ code: 'conflict' });

  const expires_at = new Date((await network.clock.now()).getTime() + 60_000).toISOString();
  const brief = await makeKey(network, { scopes: ['tasks:read'], expires_at });
  await brief.call(listTasks, {});
  await network.clock.advance('61s');
  await expect(brief.call(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
});

test('a key revoked at one coordinator ends at the others, also where no word of it comes', async () => {
  const network = await startNetwork();
  const peer = await startCoordinator({
    databaseUrl: network.databaseUrl,
    env: { MUSTER_ADMIN_KEY: network.adminKey },
  });
  onTestFinished(() => peer.stop());
  const made = await makeKey(network, { scopes: ['tasks:read'] });
  const there = checkedClient({ url: peer.url, credential: made.api_key });
  await there(listTasks, {});
  // By hand, so that nobody is told.
  await network.sql`update api_keys set revoked_at = (select muster_now()) where api_key_id = ${made.api_key_id}`;
  const refused = () => expect(there(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
  // Promised within 2 s.
  await eventually(refused, { timeoutMs: 6_000 });
});

test('a key is good from the addresses it names', async () => {
  const network = await startNetwork();
  const here = await makeKey(network, { scopes: ['tasks:read'], allowed_addresses: ['10.0.0.0/8', '127.0.0.1'] });
  await here.call(listTasks, {});
  const elsewhere = await makeKey(network, { scopes: ['tasks:read'], allowed_addresses: ['10.0.0.0/8', '::1'] });
  await expect(elsewhere.call(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
  const forwarded = { headers: { 'x-forwarded-for': '10.0.0.1' } };
  // Nobody said that a proxy stands in front.
  await expect(elsewhere.call(listTasks, {}, forwarded)).rejects.toMatchObject({ code: 'invalid-api-key' });
});

test('a proxy that was announced says where a caller is, in the last place of the list', async () => {
  const network = await startNetwork({ env: { MUSTER_BEHIND_PROXY: 'true' } });
  const made = await makeKey(network, { scopes: ['tasks:read'], allowed_addresses: ['10.0.0.0/8'] });
  const from = (list: string) => made.call(listTasks, {}, { headers: { 'x-forwarded-for': list } });
  for (const list of ['192.0.2.1, 10.0.0.1', '10.0.0.1:4711', '192.0.2.1, [::ffff:10.0.0.1]:4711']) await from(list);
  // What is no address is not taken for one.
  await expect(from('10.0.0.1, unknown')).rejects.toMatchObject({ message: expect.stringContaining('127.0.0.1') });
  await expect(from('10.0.0.1, 192.0.2.1')).rejects.toMatchObject({ code: 'invalid-api-key' });
});

test('uses are counted', async () => {
  const network = await startNetwork();
  const { api_key_id, call } = await makeKey(network, { scopes: ['tasks:read'] });
  for (let n = 0; n < 5; n += 1) await call(listTasks, {});
  await network.coordinator.tick();
  const shown = await network.admin(keys.getApiKey, { params: { api_key_id } });
  expect(shown.uses).toBe(5);
  expect(shown.last_used_at).not.toBeNull();
});

test('a key makes as many requests a minute as it may, and is told when it may again', async () => {
  const network = await startNetwork();
  const { api_key } = await makeKey(network, { scopes: ['tasks:read'], requests_per_minute: 3 });
  const ask = () =>
    fetch(`${network.url}/aitp/tasks`, { headers: { authorization: `Bearer ${api_key}`, 'x-request-id': 'r' } });
  for (const left of [2, 1, 0]) {
    const response = await ask();
    expect(response.status).toBe(200);
    expect(response.headers.get('ratelimit-policy')).toBe('"default";q=3;w=60');
    expect(response.headers.get('ratelimit')).toMatch(new RegExp(`^"default";r=${left};t=\\d+$`));
    await response.body?.cancel();
  }
  const refused = await ask();
  expect(refused.status).toBe(429);
  expect((await checkProblem(refused)).code).toBe('rate-limited');
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(refused.headers.get('ratelimit')).toMatch(/^"default";r=0;t=\d+$/);
  // The operator's own key has no limit.
  const { headers } = await fetch(`${network.url}/aitp/tasks`, {
    headers: { authorization: `Bearer ${network.adminKey}` },
  });
  expect(headers.get('ratelimit')).toBeNull();
});

test('keys that ended are forgotten after ninety days', async () => {
  const network = await startNetwork();
  const { api_key_id } = await makeKey(network, { scopes: ['tasks:read'] });
  await network.admin(keys.revokeApiKey, { params: { api_key_id } });
  await network.clock.advance('89d');
  await network.admin(keys.getApiKey, { params: { api_key_id } });
  await network.clock.advance('2d');
  await expect(network.admin(keys.getApiKey, { params: { api_key_id } })).rejects.toMatchObject({ code: 'not-found' });
});

test('a mistyped key is known for one without a look at the database', async () => {
  const network = await startNetwork();
  const { api_key } = await makeKey(networkAt(network.url, network.adminKey), { scopes: ['tasks:read'] });
  const swapped = api_key.replace(/(.)(.)$/, '$2$1');
  const call = checkedClient({ url: network.url, credential: swapped === api_key ? `${api_key}x` : swapped });
  await expect(call(listTasks, {})).rejects.toMatchObject({ code: 'invalid-api-key' });
});
