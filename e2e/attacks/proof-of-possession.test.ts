import { createHash } from 'node:crypto';
import { newId } from '@muster/shared/ids';
import { newKey, publicJwk } from '@muster/testing/jwt';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  asText,
  at,
  type Forgery,
  headers,
  resigned,
  SHAPES,
  SIGNATURES,
  SMALL_ORDER,
  saying,
} from '../fixtures/forge.ts';
import { RawAgent, sha256 } from '../fixtures/raw-agent.ts';
import { assert, beatBody, elsewhere, optionsAt, registrationOf } from './doors.ts';
import { numbered, read } from './requests.ts';
import { type Answer, type Attack, attacks, post, type Stage, setStage, shout } from './stage.ts';

type Row = Omit<Attack, 'id'>;

/** Where callers find the coordinator, which listens elsewhere. */
const PUBLIC = 'https://muster.example';
let stage: Stage;
/** An agent whose token is bound to its key. */
let bound: RawAgent;

beforeAll(async () => {
  stage = await setStage({ env: { MUSTER_BEHIND_PROXY: 'true', MUSTER_PUBLIC_URL: PUBLIC } });
  const { enrollment_token } = stage;
  bound = await RawAgent.register(optionsAt(stage), { enrollment_token, capabilities: ['work'] });
  const answer = await buy(bound, await bound.proofOf({ method: 'POST', url: PUBLIC + pathOf(bound, 'token') }));
  expect(read(answer).token_type).toBe('DPoP');
  bound.token = read<{ access_token: string }>(answer).access_token;
  stage.secrets.push(bound.token);
});
afterAll(() => stage.coordinator.stop());

const pathOf = ({ agentId }: RawAgent, verb: string) => `/ains/agents/${agentId}/${verb}`;
const beatUrl = () => PUBLIC + pathOf(bound, 'heartbeat');
const buy = async (agent: RawAgent, dpop: string) =>
  post(stage.url + pathOf(agent, 'token'), { assertion: await agent.assertionOf() }, { dpop });

/** A good proof of a beat. */
const proof = (over: Parameters<RawAgent['proofOf']>[1] = {}) =>
  bound.proofOf({ method: 'POST', url: beatUrl(), token: bound.token }, over);
/** A beat with a token, and what goes with it. */
const beat = (authorization: string, dpop?: string, agent = bound) =>
  post(stage.url + pathOf(agent, 'heartbeat'), beatBody(agent), {
    authorization,
    ...(dpop === undefined ? {} : { dpop }),
  });
const use = (dpop?: string) => beat(`DPoP ${bound.token}`, dpop);

const invalid = { status: 401, code: 'invalid-proof' } as const;
const rowOf = ([what, make]: Forgery): Row => ({
  what: `a proof: ${what}`,
  send: async () => use(make(await proof(), bound.key)),
  ...invalid,
});
const wellSigned = (what: string, over: { header?: object; claims?: object }): Row =>
  rowOf(saying(`${what}, well signed`, over));

const TYPS = [undefined, 'JWT', 'at+jwt', 'agent-assertion+jwt', 'agent-registration+jwt'];
const HEADERS: Row[] = [
  ...TYPS.map((typ) => wellSigned(`the typ ${typ ?? 'left out'}`, { header: { typ } })),
  ...headers('http://127.0.0.1:9').map(([what, header]) => wellSigned(what, { header })),
  wellSigned('no key', { header: { jwk: undefined } }),
  wellSigned('a key that anybody can sign by', { header: { jwk: SMALL_ORDER[2] } }),
  wellSigned("a stranger's key in its header", { header: { jwk: publicJwk(newKey()) } }),
  rowOf(['the private key in its header', (jwt, key) => resigned(jwt, { header: { jwk: key } }, key)]),
  {
    what: "a proof by the thief's own key",
    send: async () => use(await proof({ key: newKey() })),
    ...invalid,
  },
  {
    what: "a proof by another agent's key",
    send: async ({ rivalAgent }) => use(await proof({ key: rivalAgent.key })),
    ...invalid,
  },
];

const URLS: [what: string, change: (url: string) => string][] = [
  ['another verb', (url) => url.replace('heartbeat', 'poll')],
  ['another agent', (url) => url.replace(bound.agentId, newId('agent'))],
  ['a slash at the end', (url) => `${url}/`],
  ['a query', (url) => `${url}?a=1`],
  ['a fragment', (url) => `${url}#a`],
  ['a path in capitals', (url) => url.replace('/ains', '/AINS')],
  ['a detour of a dot', (url) => url.replace('/ains', '/./ains')],
  ['a detour of dots', (url) => url.replace('/ains', '/x/../ains')],
  ['a detour in percents', (url) => url.replace('/ains', '/x/%2e%2E/ains')],
  ['an encoded slash', (url) => url.replace('/heartbeat', '%2Fheartbeat')],
  ['two slashes', (url) => url.replace('/ains', '//ains')],
  ['a backslash', (url) => url.replace('/ains/', '/ains\\')],
  ['a tab in it', (url) => url.replace('/ains', '/ai\tns')],
  ['a blank behind it', (url) => `${url} `],
  ['another host', (url) => url.replace('muster.example', 'evil.example')],
  ['another host with ours in front', (url) => url.replace('muster.example', 'muster.example.evil.example')],
  ['another host with ours as user', (url) => url.replace('muster.example', 'muster.example@evil.example')],
  ['a user at our host', (url) => url.replace('muster.example', 'evil@muster.example')],
  ['a host in letters that look like ours', (url) => url.replace('muster', 'must\u0435r')],
  ['another port', (url) => url.replace('.example', '.example:8443')],
  ['no TLS', (url) => url.replace('https:', 'http:')],
  ['where the coordinator listens', (url) => url.replace(PUBLIC, stage.url)],
  ['a path alone', (url) => url.replace(PUBLIC, '')],
];
const CLAIMS: Row[] = [
  ...URLS.map(([what, change]) =>
    rowOf([`of ${what}`, (jwt, key) => resigned(jwt, { claims: { htu: change(beatUrl()) } }, key)]),
  ),
  wellSigned('no htu', { claims: { htu: undefined } }),
  rowOf(['an htu that is an array', (jwt, key) => resigned(jwt, { claims: { htu: [beatUrl()] } }, key)]),
  wellSigned('of a GET', { claims: { htm: 'GET' } }),
  wellSigned('of a post', { claims: { htm: 'post' } }),
  wellSigned('of any method', { claims: { htm: '*' } }),
  wellSigned('no htm', { claims: { htm: undefined } }),
  rowOf(asText('an htm twice', /^\{/, '{"htm":"GET",')),
  rowOf(at('made 61 s ago', { iat: -61 })),
  rowOf(at('to be made in 13 s', { iat: 13 })),
  rowOf(at('with an exp that has passed', { exp: -30 })),
  rowOf(at('with an nbf to come', { nbf: 3_600 })),
  wellSigned('no iat', { claims: { iat: undefined } }),
  wellSigned('an iat that is text', { claims: { iat: 'now' } }),
  wellSigned('an iat of 1e308', { claims: { iat: 1e308 } }),
  wellSigned('no jti', { claims: { jti: undefined } }),
  wellSigned('a jti too short to be random', { claims: { jti: 'a' } }),
  wellSigned('a jti of 129 characters', { claims: { jti: 'a'.repeat(129) } }),
  wellSigned('a jti with a NUL', { claims: { jti: `${'a'.repeat(9)}\0` } }),
  wellSigned('a jti that is a number', { claims: { jti: 123_456_789 } }),
  wellSigned('no ath', { claims: { ath: undefined } }),
  wellSigned('an empty ath', { claims: { ath: '' } }),
  wellSigned('the ath of another token', { claims: { ath: sha256('another') } }),
  rowOf([
    'its ath in hex',
    (jwt, key) => resigned(jwt, { claims: { ath: createHash('sha256').update(bound.token).digest('hex') } }, key),
  ]),
];

/** A token, and how it is used. */
const TOKENS: Row[] = [
  { what: 'a bound token without a proof', send: () => use(), ...invalid },
  { what: 'a bound token with an empty proof', send: () => use(''), ...invalid },
  { what: 'a bound token as Bearer', send: () => beat(`Bearer ${bound.token}`), ...invalid },
  {
    what: 'a bound token as Bearer, with its proof',
    send: async () => beat(`Bearer ${bound.token}`, await proof()),
    ...invalid,
  },
  {
    what: 'a bound token as API key, with its proof',
    send: async ({ url }) =>
      post(url + pathOf(bound, 'heartbeat'), beatBody(bound), { 'x-api-key': bound.token, dpop: await proof() }),
    ...invalid,
  },
  {
    what: 'a token that is not bound, as DPoP',
    send: async ({ agent }) => {
      const url = PUBLIC + pathOf(agent, 'heartbeat');
      return beat(`DPoP ${agent.token}`, await agent.proofOf({ method: 'POST', url, token: agent.token }), agent);
    },
    ...invalid,
  },
  {
    what: 'an API key as DPoP',
    send: async ({ owner }) => beat(`DPoP ${owner.api_key}`, await proof()),
    status: 401,
    code: 'invalid-api-key',
  },
  {
    what: "a bound token for another agent's affairs",
    send: async ({ agent }) => {
      const url = PUBLIC + pathOf(agent, 'heartbeat');
      return beat(`DPoP ${bound.token}`, await bound.proofOf({ method: 'POST', url, token: bound.token }), agent);
    },
    status: 403,
    code: 'insufficient-scope',
    // The proof was good, and is used.
    changes: ['used_jtis'],
  },
  { what: 'an assertion for a proof', send: async () => use(await bound.assertionOf()), ...invalid },
  { what: 'the token itself for a proof', send: () => use(bound.token), ...invalid },
  { what: 'two proofs in one header', send: async () => use(`${await proof()}, ${await proof()}`), ...invalid },
  {
    what: 'two DPoP headers',
    send: async () => shoutProofs([await proof(), await proof()]),
    status: 400,
    code: 'malformed-request',
  },
  {
    what: 'a proof of 20 KiB',
    send: async () => shoutProofs([await proof({ claims: { more: 'a'.repeat(15_000) } })]),
    status: 431,
    code: 'headers-too-large',
  },
];

function shoutProofs(proofs: string[]): Promise<Answer> {
  const body = JSON.stringify(beatBody(bound));
  const lines = [
    `POST ${pathOf(bound, 'heartbeat')} HTTP/1.1`,
    'host: muster.example',
    'content-type: application/json',
    `content-length: ${body.length}`,
    `authorization: DPoP ${bound.token}`,
    ...proofs.map((it) => `dpop: ${it}`),
  ];
  return shout(stage.url, `${lines.join('\r\n')}\r\n\r\n${body}`);
}

/** A session with a proof that is not of buying it: none is sold, and the assertion is good still. */
const SALES: Row[] = [
  ['by another key', (url: string) => bound.proofOf({ method: 'POST', url }, { key: newKey() })],
  ['of a beat', () => bound.proofOf({ method: 'POST', url: beatUrl() })],
  ['of another method', (url: string) => bound.proofOf({ method: 'GET', url })],
  ['that is none', async () => 'a.b.c'],
].flatMap(([what, make]) => {
  const proofOf = make as (url: string) => Promise<string>;
  return [
    {
      what: `a token bought with a proof ${what}`,
      send: async () => buy(bound, await proofOf(PUBLIC + pathOf(bound, 'token'))),
      ...invalid,
    },
    {
      what: `a registration with a proof ${what}`,
      send: async (stage: Stage) => {
        const registration = await registrationOf(stage, { key: bound.key });
        const dpop = await proofOf(`${PUBLIC}/ains/agents`);
        return post(`${stage.url}/ains/agents`, { registration }, { ...elsewhere(), dpop });
      },
      ...invalid,
    },
  ];
});

attacks(
  () => stage,
  numbered('C', [...SIGNATURES.map(rowOf), ...SHAPES.map(rowOf), ...HEADERS, ...CLAIMS, ...TOKENS, ...SALES]),
);

test('a proof is taken as it is, signed anew, and of the same URL written otherwise', async () => {
  const scheme = beatUrl().replace(PUBLIC, 'HTTPS://Muster.Example:443').replace('heartbeat', '%68eartbeat');
  const good = await proof();
  for (const it of [good, resigned(await proof(), {}, bound.key), await proof({ claims: { htu: scheme } })])
    expect((await use(it)).status).toBe(200);
  expect((await beat(`dpop ${bound.token}`, await proof())).status).toBe(200);
  expect((await assert({ ...stage, agent: bound }, await bound.assertionOf())).status).toBe(200);
});
