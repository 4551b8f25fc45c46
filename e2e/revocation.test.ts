import { deleteAgent } from '@muster/shared/contract/agents';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

/** Revocation takes two seconds at most; three times that where the machine is busy. */
const SOON = { timeoutMs: 6_000, everyMs: 50 };

/** What an agent's look at itself is answered. */
async function look({ url }: TestNetwork, { agentId, token }: RawAgent) {
  const response = await fetch(`${url}/ains/agents/${agentId}`, { headers: { authorization: `Bearer ${token}` } });
  const { code, detail } = (await response.json()) as { code?: string; detail?: string };
  return { http: response.status, code, detail };
}

/** The verb itself asks the database; this is the door before it, which does not. */
const atTheDoor = async (network: TestNetwork, agent: RawAgent) => {
  const response = await fetch(`${network.url}/ains/api-keys`, { headers: { authorization: `Bearer ${agent.token}` } });
  return ((await response.json()) as { code: string }).code;
};

async function startTwo() {
  const one = await startNetwork();
  return [one, await startNetwork({ databaseUrl: one.databaseUrl })] as const;
}

test('an agent revoked at one coordinator is a stranger to the other within two seconds', async () => {
  const [one, other] = await startTwo();
  const agent = await one.rawAgent();
  expect(await look(other, agent)).toMatchObject({ http: 200 });
  expect(await atTheDoor(other, agent)).toBe('insufficient-scope');
  await one.admin(deleteAgent, { params: { agent_id: agent.agentId } });
  expect(await atTheDoor(one, agent), 'at once where it was said').toBe('token-revoked');
  await eventually(async () => expect(await atTheDoor(other, agent)).toBe('token-revoked'), SOON);
  expect(await look(other, agent)).toMatchObject({ http: 401, code: 'token-revoked' });
});

test('also when nobody tells', async () => {
  const [one, other] = await startTwo();
  const agent = await one.rawAgent();
  expect(await atTheDoor(other, agent)).toBe('insufficient-scope');
  // As the statement does it, without the news that follows.
  await one.sql`
    update agents set token_epoch = token_epoch + 1, token_epoch_at = (select muster_now()) where agent_id = ${agent.agentId}`;
  for (const network of [one, other])
    await eventually(async () => expect(await atTheDoor(network, agent)).toBe('invalid-token'), SOON);
  expect(await look(one, agent)).toMatchObject({ http: 401, detail: expect.stringContaining('buy a new one') });
  await agent.assert();
  expect(await look(one, agent)).toMatchObject({ http: 200 });
  expect(await look(other, agent)).toMatchObject({ http: 200 });
});

test('a coordinator that starts knows it before its first request, and forgets it when it no longer matters', async () => {
  const one = await startNetwork();
  const agent = await one.rawAgent();
  await one.admin(deleteAgent, { params: { agent_id: agent.agentId } });
  await one.clock.advance('5m');
  const other = await startNetwork({ databaseUrl: one.databaseUrl });
  expect(await atTheDoor(other, agent)).toBe('token-revoked');
  await one.clock.advance('20m');
  for (const network of [one, other]) expect(await atTheDoor(network, agent)).toBe('invalid-token');
});

test('a poll that waits by a token that ended is given nothing more, also when nobody tells', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const waiting = agent.poll({ wait_ms: 20_000 });
  // By the second of them it waits.
  for (const _ of [1, 2]) await agent.beat();
  await network.sql`
    update agents set token_epoch = token_epoch + 1, token_epoch_at = (select muster_now()) where agent_id = ${agent.agentId}`;
  await eventually(async () => expect(await atTheDoor(network, agent)).toBe('invalid-token'), SOON);
  await network.submit({ task_type: 'work', input_data: 'secret' });
  expect((await waiting).runs).toEqual([]);
});
