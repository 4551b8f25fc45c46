import { deleteAgent } from '@muster/shared/contract/agents';
import { newId } from '@muster/shared/ids';
import { eventually, startCoordinator, type TestCoordinator } from '@muster/testing';
import { newKey, publicJwk } from '@muster/testing/jwt';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { claimsOf, resigned, SMALL_ORDER } from '../fixtures/forge.ts';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { beatBody, elsewhere, optionsAt, registrationOf } from './doors.ts';
import { numbered, read } from './requests.ts';
import { type Answer, type Attack, ask, attacks, post, type Stage, setStage } from './stage.ts';

type Row = Omit<Attack, 'id'>;

/** Where callers find the network, whichever coordinator answers. */
const PUBLIC = 'https://muster.example';
const env = { MUSTER_BEHIND_PROXY: 'true', MUSTER_PUBLIC_URL: PUBLIC };
let stage: Stage;
/** Where a thing is sent once more. */
const others: Record<'peer' | 'restarted' | 'strict', TestCoordinator | undefined> = {
  peer: undefined,
  restarted: undefined,
  strict: undefined,
};
type Where = 'stage' | keyof typeof others;
const urlOf = (where: Where) => (where === 'stage' ? stage.url : others[where]!.url);

/** Agents: one with a bound token, one in its second life, one that was revoked, one that changed its key. */
let bound: RawAgent;
let old: RawAgent;
let revoked: RawAgent;
let rotated: RawAgent;
/** What was used already. */
const used = { proof: '', assertion: '', registration: '', rotation: { rotation: '', confirmation: '' } };
/** What an agent had before. */
const former = { boot_id: '', life: '', token: '', key: newKey() };

beforeAll(async () => {
  stage = await setStage({ env });
  const { enrollment_token, coordinator } = stage;
  const join = () => RawAgent.register(optionsAt(stage), { enrollment_token, capabilities: ['work'] });
  const peer = (more = {}) => startCoordinator({ databaseUrl: coordinator.databaseUrl, env: { ...env, ...more } });
  [others.peer, others.strict] = [await peer(), await peer({ MUSTER_REQUIRE_DPOP: 'true' })];

  bound = await join();
  used.assertion = await bound.assertionOf();
  const dpop = await bound.proofOf({ method: 'POST', url: PUBLIC + pathOf(bound, 'token') });
  bound.token = tokenIn(await post(stage.url + pathOf(bound, 'token'), { assertion: used.assertion }, { dpop }));
  used.proof = await proof();
  expect((await use('stage', used.proof)).status).toBe(200);
  used.registration = await registrationOf(stage);
  expect((await post(`${stage.url}/ains/agents`, { registration: used.registration }, elsewhere())).status).toBe(201);

  old = await join();
  [former.boot_id, former.life] = [old.bootId, old.token];
  await old.assert(newId('boot'));
  revoked = await join();
  await stage.owner.call(deleteAgent, { params: { agent_id: revoked.agentId } });
  rotated = await join();
  [former.token, former.key] = [rotated.token, rotated.key];
  const to = newKey();
  used.rotation = await rotated.rotationOf(to);
  rotated.token = tokenIn(await post(stage.url + pathOf(rotated, 'rotate-key'), used.rotation));
  rotated.key = to;
  others.restarted = await peer();
});
afterAll(async () => {
  for (const it of Object.values(others)) await it?.stop();
  await stage.coordinator.stop();
});

const pathOf = ({ agentId }: RawAgent, verb: string) => `/ains/agents/${agentId}/${verb}`;
const tokenIn = (answer: Answer): string => {
  expect(answer.status, answer.body).toBe(200);
  return read<{ access_token: string }>(answer).access_token;
};
const proof = (verb = 'heartbeat', over: Parameters<RawAgent['proofOf']>[1] = {}) =>
  bound.proofOf({ method: 'POST', url: PUBLIC + pathOf(bound, verb), token: bound.token }, over);
const beat = (where: Where, agent: RawAgent, headers: Record<string, string>, body: object = beatBody(agent)) =>
  post(urlOf(where) + pathOf(agent, 'heartbeat'), body, headers);
const use = (where: Where, dpop: string) => beat(where, bound, { authorization: `DPoP ${bound.token}`, dpop });
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
/** An agent's look at itself when it is not let in any more: within two seconds, or more where the machine is busy. */
const refusedSoon = (where: Where, { agentId }: RawAgent, token: string) =>
  eventually(
    async () => {
      const answer = await ask(`${urlOf(where)}/ains/agents/${agentId}`, { headers: bearer(token) });
      expect(answer.status).toBe(401);
      return answer;
    },
    { timeoutMs: 6_000 },
  );
const assert = (where: Where, agent: RawAgent, assertion: string) =>
  post(urlOf(where) + pathOf(agent, 'token'), { assertion });

const badProof = { status: 401, code: 'invalid-proof' } as const;
const badToken = { status: 401, code: 'invalid-token' } as const;
const sentAway = { status: 401, code: 'token-revoked' } as const;
const overLife = { status: 409, code: 'stale-lease' } as const;

const WHERE: [Where, string][] = [
  ['stage', 'where it was used'],
  ['peer', 'at another coordinator'],
  ['restarted', 'after a restart'],
];
const REPLAYS: Row[] = WHERE.flatMap(([where, there]): Row[] => [
  { what: `a proof again, ${there}`, send: () => use(where, used.proof), ...badProof },
  {
    what: `the jti of a proof again, in another, ${there}`,
    send: async () => use(where, await proof('heartbeat', { claims: { jti: claimsOf(used.proof).jti } })),
    ...badProof,
  },
  { what: `an assertion again, ${there}`, send: () => assert(where, bound, used.assertion), ...badToken },
  {
    what: `the jti of an assertion again, in another life's, ${there}`,
    send: async () => {
      const { jti } = claimsOf(used.assertion);
      return assert(where, bound, await bound.assertionOf(newId('boot'), { claims: { jti } }));
    },
    ...badToken,
  },
  {
    what: `a registration again, ${there}`,
    send: () => post(`${urlOf(where)}/ains/agents`, { registration: used.registration }, elsewhere()),
    ...badToken,
  },
  {
    what: `a key rotation again, ${there}`,
    send: () => post(urlOf(where) + pathOf(rotated, 'rotate-key'), used.rotation),
    ...badToken,
  },
  {
    what: `the token of a revoked agent, ${there}`,
    send: () => refusedSoon(where, revoked, revoked.token),
    ...sentAway,
  },
  {
    what: `an assertion of a revoked agent, ${there}`,
    send: async () => assert(where, revoked, await revoked.assertionOf()),
    ...sentAway,
  },
  {
    what: `the token of a life that is over, ${there}`,
    send: () => beat(where, old, bearer(former.life), { ...beatBody(old), boot_id: former.boot_id }),
    ...overLife,
  },
  {
    what: `a token bought with the former key, ${there}`,
    send: () => refusedSoon(where, rotated, former.token),
    ...badToken,
  },
  {
    what: `an assertion by the former key, ${there}`,
    send: async () => assert(where, rotated, resigned(await rotated.assertionOf(), {}, former.key)),
    ...badToken,
  },
]);

/** Lives that are over, and agents that are gone. */
const LIVES: Row[] = [
  {
    what: 'the token of a life that is over, for the life that is',
    send: () => beat('stage', old, bearer(former.life)),
    ...overLife,
  },
  {
    what: 'the token of the life that is, for one that is over',
    send: () => beat('stage', old, bearer(old.token), { ...beatBody(old), boot_id: former.boot_id }),
    ...overLife,
  },
  {
    what: 'an assertion for a life that is over',
    send: async () => assert('stage', old, await old.assertionOf(former.boot_id)),
    ...overLife,
  },
  {
    what: 'a registration for a life that is over',
    async send(stage) {
      const registration = await registrationOf(stage, { key: old.key, claims: { boot_id: former.boot_id } });
      return post(`${stage.url}/ains/agents`, { registration }, elsewhere());
    },
    ...overLife,
  },
  {
    what: 'an assertion of an agent that never was',
    async send() {
      const nobody = newId('agent');
      const claims = { iss: nobody, sub: nobody };
      return post(`${stage.url}/ains/agents/${nobody}/token`, {
        assertion: await old.assertionOf(old.bootId, { claims }),
      });
    },
    ...sentAway,
  },
  {
    what: 'a key rotation by a revoked agent',
    send: async ({ url }) => post(url + pathOf(revoked, 'rotate-key'), await revoked.rotationOf(newKey())),
    ...sentAway,
  },
];

type Over = Parameters<RawAgent['rotationOf']>[1] & { to?: ReturnType<typeof newKey> };
const rotation = (
  what: string,
  over: (stage: Stage) => Over,
  expected: Pick<Row, 'status' | 'code'> = badToken,
): Row => ({
  what: `a key rotation ${what}`,
  async send(stage) {
    const { to = newKey(), ...rest } = over(stage);
    return post(stage.url + pathOf(rotated, 'rotate-key'), await rotated.rotationOf(to, rest));
  },
  ...expected,
});
/** The key of an agent is changed by word of the key it has and of the one it is to have. */
const ROTATIONS: Row[] = [
  rotation('signed by a stranger', () => ({ signer: newKey() })),
  rotation('signed by the former key', () => ({ signer: former.key })),
  rotation('signed by the new key alone', () => byNewKey()),
  rotation('confirmed by a stranger', () => ({ confirmer: newKey() })),
  rotation('confirmed by the key it has', () => ({ confirmer: rotated.key })),
  rotation('of another agent', ({ agent }) => ({ rotation: { iss: agent.agentId, sub: agent.agentId } })),
  rotation('confirmed for another agent', ({ agent }) => ({
    confirmation: { iss: agent.agentId, sub: agent.agentId },
  })),
  rotation('with the confirmation of another', () => ({ confirmation: { rotation_hash: 'A'.repeat(43) } })),
  rotation('to a key that anybody can sign by', () => ({ rotation: { new_jwk: SMALL_ORDER[2] } })),
  rotation('to a private key', () => private_()),
  rotation('to a key of another kind', () => ({ rotation: { new_jwk: { ...publicJwk(newKey()), crv: 'X25519' } } })),
  rotation('to no key', () => ({ rotation: { new_jwk: undefined } })),
  rotation('to the key another agent has', ({ rivalAgent }) => ({ to: rivalAgent.key }), {
    status: 409,
    code: 'conflict',
  }),
  rotation('in a life that is not', () => ({ rotation: { boot_id: newId('boot') } }), overLife),
  {
    what: "a key rotation with another agent's, each good",
    send: async ({ url, agent }) => post(url + pathOf(rotated, 'rotate-key'), await agent.rotationOf(newKey())),
    ...badToken,
  },
  {
    what: 'a key rotation that is confirmed by itself',
    async send({ url }) {
      const { rotation: it } = await rotated.rotationOf(newKey());
      return post(url + pathOf(rotated, 'rotate-key'), { rotation: it, confirmation: it });
    },
    ...badToken,
  },
];
function byNewKey(): Over {
  const to = newKey();
  return { to, signer: to };
}
function private_(): Over {
  const to = newKey();
  return { to, rotation: { new_jwk: to } };
}

/** Where proofs are a must. */
const STRICT: Row[] = [
  { what: 'where proofs are a must: a bearer token', send: () => beat('strict', old, bearer(old.token)), ...badProof },
  {
    what: 'where proofs are a must: an assertion without one',
    send: async () => assert('strict', old, await old.assertionOf()),
    ...badProof,
  },
  {
    what: 'where proofs are a must: a registration without one',
    send: async (stage) =>
      post(`${urlOf('strict')}/ains/agents`, { registration: await registrationOf(stage) }, elsewhere()),
    ...badProof,
  },
  {
    what: 'where proofs are a must: a key rotation without one',
    send: async () => post(urlOf('strict') + pathOf(old, 'rotate-key'), await old.rotationOf(newKey())),
    ...badProof,
  },
];

const CROWDS: Row[] = [
  {
    what: 'one proof twenty times at once, at two coordinators: it is good once',
    async send() {
      const dpop = await proof();
      const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => use(n % 2 ? 'stage' : 'peer', dpop)));
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
      return answers.find(({ status }) => status !== 200)!;
    },
    changes: true,
    ...badProof,
  },
  {
    what: 'one assertion twenty times at once, at two coordinators: it is good once',
    async send() {
      const assertion = await old.assertionOf();
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) => assert(n % 2 ? 'stage' : 'peer', old, assertion)),
      );
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
      return answers.find(({ status }) => status !== 200)!;
    },
    changes: true,
    ...badToken,
  },
];

attacks(() => stage, numbered('CR', [...REPLAYS, ...LIVES, ...ROTATIONS, ...STRICT, ...CROWDS]));

test('at every coordinator what is new is good', async () => {
  for (const where of ['stage', 'peer', 'restarted', 'strict'] as const) {
    expect((await use(where, await proof())).status, where).toBe(200);
    expect((await beat('stage', rotated, bearer(rotated.token))).status).toBe(200);
  }
  for (const where of ['stage', 'peer', 'restarted'] as const) {
    expect((await assert(where, old, await old.assertionOf())).status, where).toBe(200);
    const registration = await registrationOf(stage);
    expect((await post(`${urlOf(where)}/ains/agents`, { registration }, elsewhere())).status, where).toBe(201);
  }
  const body = await rotated.rotationOf(newKey());
  expect((await post(stage.url + pathOf(rotated, 'rotate-key'), body)).status).toBe(200);
});
