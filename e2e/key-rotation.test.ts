import * as agents from '@muster/shared/contract/agents';
import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing';
import { newKey, publicJwk } from '@muster/testing/jwt';
import { expect, test } from 'vitest';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import { type RawAgent, thumbprintOf } from './fixtures/raw-agent.ts';

const INVALID = { code: 'invalid-token', status: 401 };

/** A rotation as it is sent. */
const send = (agent: RawAgent, body: { rotation: string; confirmation: string }) =>
  agent.call(agents.rotateAgentKey, { params: { agent_id: agent.agentId }, body });

const keyOf = async ({ sql }: TestNetwork, { agentId }: RawAgent) => {
  const [row] = await sql`select jkt, public_jwk ->> 'x' as x, token_epoch from agents where agent_id = ${agentId}`;
  return row!;
};

test('a key is changed by word of both, and what the old one bought or signs is refused from then on', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const run = await agent.take();
  const old = { token: agent.token, key: agent.key };
  const assertion = await agent.assertionOf();
  await agent.rotate();
  expect(await keyOf(network, agent)).toEqual({
    jkt: thumbprintOf(agent.key),
    x: publicJwk(agent.key).x,
    token_epoch: 1,
  });
  const [event] = await network.sql`select detail from events where kind = 'agent.key_rotated'`;
  expect(event!.detail).toEqual([{ from: thumbprintOf(old.key), to: thumbprintOf(agent.key) }]);
  // It is who it was: it goes on with what it holds.
  expect(await agent.complete(run)).toMatchObject({ applied: true });
  expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED' });
  await agent.assert();
  await agent.assert(newId('boot'));

  const params = { agent_id: agent.agentId };
  await expect(agent.call(agents.createAccessToken, { params, body: { assertion } })).rejects.toMatchObject(INVALID);
  Object.assign(agent, old);
  await expect(agent.beat()).rejects.toMatchObject(INVALID);
  await expect(agent.assert()).rejects.toMatchObject(INVALID);
  await expect(agent.rotate()).rejects.toMatchObject(INVALID);
});

test('a poll that waits by an old token is answered when the key changes', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const waiting = agent.poll({ wait_ms: 25_000 });
  // By the second of them it waits.
  for (const _ of [1, 2]) await agent.beat();
  const began = performance.now();
  await agent.rotate();
  expect((await waiting).runs).toEqual([]);
  expect(performance.now() - began).toBeLessThan(10_000);
});

test('a rotation that is not of this agent, this life and both its keys changes nothing', async () => {
  const network = await startNetwork();
  const [agent, other] = [await network.rawAgent(), await network.rawAgent()];
  const before = await keyOf(network, agent);
  const [to, stranger] = [newKey(), newKey()];
  const now = Math.floor((await network.clock.now()).getTime() / 1_000);
  const jwk = publicJwk(to);
  const good = await agent.rotationOf(to);
  const rows: [string, { rotation: string; confirmation: string }, object][] = [
    ['signed by another', await agent.rotationOf(to, { signer: stranger }), INVALID],
    ['signed by the new key alone', await agent.rotationOf(to, { signer: to }), INVALID],
    ['confirmed by another', await agent.rotationOf(to, { confirmer: stranger }), INVALID],
    ['confirmed by the old key', await agent.rotationOf(to, { confirmer: agent.key }), INVALID],
    ['by another agent for it', await other.rotationOf(to, { rotation: { sub: agent.agentId } }), INVALID],
    ['of another agent', await agent.rotationOf(to, { rotation: { sub: other.agentId } }), INVALID],
    ['confirmed for another agent', await agent.rotationOf(to, { confirmation: { sub: other.agentId } }), INVALID],
    ['confirmed of another rotation', { ...good, confirmation: (await agent.rotationOf(to)).confirmation }, INVALID],
    ['with an assertion in place of it', { ...good, rotation: await agent.assertionOf() }, INVALID],
    ['with a rotation as its confirmation', { ...good, confirmation: good.rotation }, INVALID],
    ['made 61 s ago', await agent.rotationOf(to, { rotation: { iat: now - 61, exp: now - 1 } }), INVALID],
    ['for an hour', await agent.rotationOf(to, { rotation: { exp: now + 3_600 } }), INVALID],
    ['confirmed 61 s ago', await agent.rotationOf(to, { confirmation: { iat: now - 61, exp: now - 1 } }), INVALID],
    [
      'to a key of another kind',
      await agent.rotationOf(to, { rotation: { new_jwk: { ...jwk, crv: 'X25519' } } }),
      INVALID,
    ],
    ['to a private key', await agent.rotationOf(to, { rotation: { new_jwk: to } }), INVALID],
    [
      'to a key anybody can sign by',
      await agent.rotationOf(to, { rotation: { new_jwk: { ...jwk, x: `AQ${'A'.repeat(41)}` } } }),
      INVALID,
    ],
    [
      'in another life',
      await agent.rotationOf(to, { rotation: { boot_id: newId('boot') } }),
      { code: 'stale-lease', status: 409 },
    ],
    ['to the key another has', await agent.rotationOf(other.key), { code: 'conflict', status: 409 }],
  ];
  for (const [what, body, problem] of rows) await expect(send(agent, body), what).rejects.toMatchObject(problem);
  expect(await keyOf(network, agent)).toEqual(before);
  expect(await agent.beat()).toMatchObject({ acknowledged: true });
  // And the good one is good, once.
  agent.token = (await send(agent, good)).access_token;
  await expect(send(agent, good)).rejects.toMatchObject(INVALID);
  agent.key = to;
  await agent.beat();
});

test('the proofs of a rotation are good once, also where the key comes back', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const [first, second] = [agent.key, newKey()];
  const there = await agent.rotationOf(second);
  agent.token = (await send(agent, there)).access_token;
  agent.key = second;
  await agent.rotate(first);
  await expect(send(agent, there)).rejects.toMatchObject({
    ...INVALID,
    message: expect.stringContaining('used before'),
  });
  expect((await keyOf(network, agent)).token_epoch).toBe(2);
});

test('of rotations that come at once one is done', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const keys = Array.from({ length: 10 }, () => newKey());
  const bodies = await Promise.all(keys.map((key) => agent.rotationOf(key)));
  const tries = await Promise.allSettled(bodies.map((body) => send(agent, body)));
  const done = tries.flatMap((it, n) =>
    it.status === 'fulfilled' ? [{ token: it.value.access_token, key: keys[n]! }] : [],
  );
  expect(done).toHaveLength(1);
  for (const it of tries) if (it.status === 'rejected') expect(it.reason).toMatchObject(INVALID);
  Object.assign(agent, done[0]);
  await agent.beat();
  await agent.assert();
});

test('one who is gone or was sent away cannot change the key', async () => {
  const network = await startNetwork();
  const [left, revoked] = [await network.rawAgent(), await network.rawAgent()];
  await left.leave();
  await expect(left.rotate()).rejects.toMatchObject({ code: 'stale-lease', status: 409 });
  await network.admin(agents.deleteAgent, { params: { agent_id: revoked.agentId } });
  await expect(revoked.rotate()).rejects.toMatchObject({ code: 'token-revoked', status: 401 });
  const nobody = newId('agent');
  const call = revoked.call(agents.rotateAgentKey, {
    params: { agent_id: nobody },
    body: await revoked.rotationOf(newKey()),
  });
  await expect(call).rejects.toMatchObject({ code: 'token-revoked', status: 401 });
});

test('the session is bound where the new key proves itself, and only by it', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({}, undefined, { dpop: true });
  await agent.rotate();
  expect(await agent.beat()).toMatchObject({ acknowledged: true });
  const to = newKey();
  const url = `${network.url}/ains/agents/${agent.agentId}/rotate-key`;
  const headers = { dpop: await agent.proofOf({ method: 'POST', url }) };
  const body = await agent.rotationOf(to);
  const byOld = agent.call(agents.rotateAgentKey, { params: { agent_id: agent.agentId }, body }, { headers });
  await expect(byOld).rejects.toMatchObject({ code: 'invalid-proof', status: 401 });
});

test('what the old key bought is over at every coordinator', async () => {
  const one = await startNetwork();
  const other = await startNetwork({ databaseUrl: one.databaseUrl });
  const agent = await one.rawAgent();
  const former = agent.token;
  const lookAtOther = () =>
    fetch(`${other.url}/ains/agents/${agent.agentId}`, { headers: { authorization: `Bearer ${former}` } });
  expect((await lookAtOther()).status).toBe(200);
  await agent.rotate();
  await eventually(async () => expect((await lookAtOther()).status).toBe(401), { timeoutMs: 6_000 });
  expect(await (await lookAtOther()).json()).toMatchObject(INVALID);
});
