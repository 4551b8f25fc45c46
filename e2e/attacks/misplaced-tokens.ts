import { newId } from '@muster/shared/ids';
import { resigned, withSignature } from '../fixtures/forge.ts';
import type { RawAgent } from '../fixtures/raw-agent.ts';
import { ACCESS, ASSERTION, assert, beat, beatBody, REGISTRATION, register, SIGNING_KEY } from './doors.ts';
import { type Answer, type Attack, post, type Stage, shout } from './stage.ts';

type Row = Omit<Attack, 'id'>;
const refused = { status: 401, code: 'invalid-token' } as const;

/** Good tokens where another kind is wanted. */
export const SWAPS: Row[] = [
  { what: 'an assertion as access token', send: async (s) => ACCESS.send(s, await ASSERTION.good(s)), ...refused },
  { what: 'a registration as access token', send: async (s) => ACCESS.send(s, await REGISTRATION.good(s)), ...refused },
  { what: 'an enrolment token as access token', send: (s) => ACCESS.send(s, s.secrets[3]!), ...refused },
  { what: 'an access token as assertion', send: (s) => assert(s, s.agent.token), ...refused },
  { what: 'an enrolment token as assertion', send: (s) => assert(s, s.secrets[3]!), ...refused },
  { what: 'an access token as registration', send: (s) => register(s, s.agent.token), ...refused },
  { what: 'an enrolment token as registration', send: (s) => register(s, s.secrets[3]!), ...refused },
  {
    what: "another agent's access token",
    send: (s) => ACCESS.send(s, s.rivalAgent.token),
    status: 403,
    code: 'insufficient-scope',
  },
  { what: "another agent's assertion", send: async (s) => assert(s, await s.rivalAgent.assertionOf()), ...refused },
  {
    what: 'an access token of an agent that never was, signed by our own key',
    send: (s) => {
      const nobody = Object.assign(Object.create(s.agent) as RawAgent, { agentId: newId('agent') });
      const token = resigned(s.agent.token, { claims: { sub: nobody.agentId } }, SIGNING_KEY);
      return beat({ ...s, agent: nobody }, { authorization: `Bearer ${token}` });
    },
    status: 401,
    code: 'token-revoked',
  },
];

const strange = { status: 401, code: 'unauthenticated' } as const;
const twofold = { status: 400, code: 'malformed-request' } as const;
const withHeaders = (what: string, of: (token: string, stage: Stage) => Record<string, string>): Row => ({
  what,
  send: (s) => beat(s, of(s.agent.token, s)),
  ...strange,
});
/** A good token, sent as none is taken. */
export const CARRIERS: Row[] = [
  withHeaders('an access token in a cookie', (token) => ({ cookie: `access_token=${token}` })),
  withHeaders('an access token without a scheme', (token) => ({ authorization: token })),
  withHeaders('an access token as Basic', (token) => ({ authorization: `Basic ${btoa(`${token}:`)}` })),
  withHeaders('an access token as Token', (token) => ({ authorization: `Token ${token}` })),
  withHeaders('an access token after two schemes', (token) => ({ authorization: `Bearer Bearer ${token}` })),
  withHeaders('an access token with a word behind it', (token) => ({ authorization: `Bearer ${token} admin` })),
  withHeaders('a scheme alone', () => ({ authorization: 'Bearer' })),
  {
    what: 'an access token in the query',
    send: ({ url, agent }) =>
      post(`${url}/ains/agents/${agent.agentId}/heartbeat?access_token=${agent.token}`, beatBody(agent)),
    ...strange,
  },
  {
    what: 'an access token in the body',
    send: ({ url, agent }) =>
      post(`${url}/ains/agents/${agent.agentId}/heartbeat`, { ...beatBody(agent), access_token: agent.token }),
    ...strange,
  },
  {
    ...withHeaders('two in one header', (token) => ({ authorization: `Bearer ${token}, Bearer ${token}` })),
    ...twofold,
  },
  {
    ...withHeaders('a token and an API key', (token, { owner }) => ({
      authorization: `Bearer ${token}`,
      'x-api-key': owner.api_key,
    })),
    ...twofold,
  },
  { what: 'two Authorization headers', send: (s) => shoutTokens(s, [s.agent.token, s.agent.token]), ...twofold },
  {
    what: 'two Authorization headers, one of them good',
    send: (s) => shoutTokens(s, [s.agent.token, withSignature(s.agent.token, '')]),
    ...twofold,
  },
  {
    what: 'a forged token under a scheme in small letters',
    send: (s) => beat(s, { authorization: `bearer ${withSignature(s.agent.token, '')}` }),
    ...refused,
  },
  {
    what: 'an access token of 12 KiB',
    send: (s) => ACCESS.send(s, withSignature(s.agent.token, 'A'.repeat(12_000))),
    ...refused,
  },
  {
    what: 'an access token of 1 MiB',
    send: (s) => shoutTokens(s, [withSignature(s.agent.token, 'A'.repeat(1 << 20))]),
    status: 431,
    code: 'headers-too-large',
  },
  {
    what: 'an assertion of 9 KiB',
    send: (s) => assert(s, withSignature(s.agent.token, 'A'.repeat(9_000))),
    status: 422,
    code: 'validation-failed',
  },
  {
    what: 'an assertion of 1 MiB',
    send: (s) => assert(s, withSignature(s.agent.token, 'A'.repeat(1 << 20))),
    status: 413,
    code: 'payload-too-large',
  },
  ...[null, 7, {}, []].map(
    (value): Row => ({
      what: `${JSON.stringify(value)} as assertion`,
      send: (s) => assert(s, value),
      status: 422,
      code: 'validation-failed',
    }),
  ),
];

/** Beats with so many Authorization headers, as no client does. */
function shoutTokens({ url, agent }: Stage, tokens: string[]): Promise<Answer> {
  const body = JSON.stringify(beatBody(agent));
  const lines = [
    `POST /ains/agents/${agent.agentId}/heartbeat HTTP/1.1`,
    `host: ${new URL(url).host}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    ...tokens.map((token) => `authorization: Bearer ${token}`),
  ];
  return shout(url, `${lines.join('\r\n')}\r\n\r\n${body}`);
}
