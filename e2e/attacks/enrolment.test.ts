import { deleteAgent, getAgent, listAgents } from '@muster/shared/contract/agents';
import type { CallOf } from '@muster/shared/contract/endpoint';
import { createEnrollmentToken, revokeEnrollmentToken } from '@muster/shared/contract/enrollment';
import { newId } from '@muster/shared/ids';
import { newKey, publicJwk } from '@muster/testing/jwt';
import { afterAll, beforeAll, expect } from 'vitest';
import { resigned, withSignature } from '../fixtures/forge.ts';
import { RawAgent, type Registration, thumbprintOf } from '../fixtures/raw-agent.ts';
import { optionsAt, register, registrationOf, row, SIGNING_KEY, type Wish } from './doors.ts';
import { forge, numbered, read } from './requests.ts';
import { type Answer, type Attack, attacks, post, type Stage, setStage } from './stage.ts';

type Row = Omit<Attack, 'id'>;

/** What there is to register with, good and bad. */
let stage: Stage;
const tokens = { spent: '', expired: '', shortened: '', revoked: '', pinned: '', narrow: '', rival: '' };
const ids = { revoked: '' };
/** Agents that there are: one enrolled for little, one that was revoked, one to be taken over. */
let [narrow, gone, victim]: RawAgent[] = [];

const LITTLE = { capabilities: ['work', 'draw:v1'], name_pattern: 'build-*.eu', max_slots: 2 };
const PINNED_KEY = newKey();

beforeAll(async () => {
  stage = await setStage({ env: { MUSTER_BEHIND_PROXY: 'true', MUSTER_SIGNING_KEY: JSON.stringify(SIGNING_KEY) } });
  const { coordinator, owner, rival } = stage;
  const make = async (body: CallOf<typeof createEnrollmentToken>['body'] = {}, by = owner) => {
    const made = await by.call(createEnrollmentToken, { body: { max_uses: 1_000, ttl_seconds: 86_400, ...body } });
    stage.secrets.push(made.enrollment_token);
    return made;
  };
  const join = async (enrollment_token: string, more: Partial<Registration> = {}) =>
    RawAgent.register(optionsAt(stage), { enrollment_token, capabilities: ['work'], ...more });
  tokens.spent = (await make({ max_uses: 1 })).enrollment_token;
  tokens.expired = (await make({ ttl_seconds: 30 })).enrollment_token;
  const [shortened, revoked] = [await make(), await make()];
  [tokens.shortened, tokens.revoked, ids.revoked] = [
    shortened.enrollment_token,
    revoked.enrollment_token,
    revoked.enrollment_token_id,
  ];
  tokens.pinned = (await make({ key_thumbprint: thumbprintOf(PINNED_KEY) })).enrollment_token;
  tokens.narrow = (await make(LITTLE)).enrollment_token;
  tokens.rival = (await make({}, rival)).enrollment_token;
  await coordinator.clock.advance('1m');
  // Its JWT says that it is good still.
  await coordinator.sql`
    update enrollment_tokens set expires_at = muster_now() - interval '1 second' where enrollment_token_id = ${shortened.enrollment_token_id}`;
  await owner.call(revokeEnrollmentToken, { params: { enrollment_token_id: ids.revoked } });
  await join(tokens.spent);
  narrow = await join(tokens.narrow, { display_name: 'build-1.eu' });
  gone = await join(stage.enrollment_token);
  await owner.call(deleteAgent, { params: { agent_id: gone.agentId } });
  victim = await join(stage.enrollment_token);
});
afterAll(() => stage.coordinator.stop());

const notEnrolled = { status: 401, code: 'enrollment-token-invalid' } as const;
const beyond = { status: 403, code: 'insufficient-scope' } as const;
const from = (address: string) => ({ 'x-forwarded-for': address });
const malformed = { status: 422, code: 'validation-failed' } as const;
const noKey = { status: 401, code: 'invalid-token' } as const;

/** Tokens that let nobody in. All of these are answered alike. */
const TOKENS: Row[] = [
  ['that was used up', () => tokens.spent],
  ['that has expired', () => tokens.expired],
  ['that has expired by its row', () => tokens.shortened],
  ['that was revoked', () => tokens.revoked],
  ['for another key', () => tokens.pinned],
  ['without its signature', () => withSignature(stage.enrollment_token, '')],
  ['under the signature of another', () => withSignature(stage.enrollment_token, tokens.narrow.split('.')[2]!)],
  ['signed by the attacker', () => resigned(stage.enrollment_token, {}, newKey())],
  ['of alg none', () => withSignature(resigned(stage.enrollment_token, { header: { alg: 'none' } }, newKey()), '')],
  ['with a key of its own', () => byItself()],
  [
    'of an id that never was, signed by our own key',
    () => resigned(stage.enrollment_token, { claims: { jti: newId('enroll') } }, SIGNING_KEY),
  ],
  [
    'of the typ of an access token, signed by our own key',
    () => resigned(stage.enrollment_token, { header: { typ: 'at+jwt' } }, SIGNING_KEY),
  ],
  [
    'of another network, signed by our own key',
    () => resigned(stage.enrollment_token, { claims: { aud: 'another' } }, SIGNING_KEY),
  ],
  ['that is an access token', ({ agent }: Stage) => agent.token],
  ['that is an API key', ({ owner }: Stage) => owner.api_key],
  ['that is the admin key', ({ coordinator }: Stage) => coordinator.adminKey],
  ['that is its id', ({ enrollment_token_id }: Stage) => enrollment_token_id],
  ['that is empty', () => ''],
  ['that is SQL', () => "a.b.c' or 1=1 --"],
].map(([what, token]) =>
  row(`a token ${what}`, (stage) => ({ enrollment_token: (token as (stage: Stage) => string)(stage) }), notEnrolled),
);

/** As a registration is: with the key it is signed by in its header. */
function byItself(): string {
  const key = newKey();
  return resigned(stage.enrollment_token, { header: { jwk: publicJwk(key), kid: undefined } }, key);
}

/** More than the token is for. */
const BEYOND: Row[] = [
  ['another capability', { capabilities: ['rule'] }],
  ['one capability too many', { capabilities: ['work', 'rule'] }],
  ['another version of a capability', { capabilities: ['draw:v2'] }],
  ['a capability without its version', { capabilities: ['draw'] }],
  ['a capability that begins alike', { capabilities: ['worker'] }],
  ['a capability in capitals', { capabilities: ['Work'] }],
  ['too many slots', { slots: 3 }],
  ['another name', { display_name: 'root' }],
  ['a name in capitals', { display_name: 'BUILD-1.eu' }],
  ['a name with something in front', { display_name: 'xbuild-1.eu' }],
  ['a name with something behind', { display_name: 'build-1.eu.evil' }],
  ['a name with a line behind', { display_name: 'build-1.eu\n' }],
  ['a name in letters that look like it', { display_name: 'bu\u0456ld-1.eu' }],
  ['a name in wide letters', { display_name: '\uff42\uff55\uff49\uff4c\uff44-1.eu' }],
  ['a name with nothing in it that shows', { display_name: 'build\u200b-1.eu' }],
  ['a name whose dot is another character', { display_name: 'build-1xeu' }],
].map(([what, wish]) =>
  row(
    what as string,
    () => ({ enrollment_token: tokens.narrow, display_name: 'build-2.eu', ...(wish as Wish) }),
    beyond,
  ),
);

const agentsNow = async ({ admin }: Stage) => (await admin(listAgents, { query: { limit: 200 } })).data.length;
const usesOf = async ({ coordinator }: Stage, token: string) => {
  const { jti } = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString());
  const [found] = await coordinator.sql<
    { uses: number }[]
  >`select uses from enrollment_tokens where enrollment_token_id = ${jti}`;
  return found?.uses;
};

/** Agents that there are, and what becomes of them. */
const KNOWN: Row[] = [
  row('an agent comes back by a wider token', () => ({ key: narrow!.key, capabilities: ['rule'] }), beyond),
  row(
    'an agent comes back with more slots',
    () => ({ key: narrow!.key, display_name: 'build-1.eu', slots: 9 }),
    beyond,
  ),
  row('an agent comes back by another name', () => ({ key: narrow!.key, display_name: 'root' }), beyond),
  row(
    'an agent comes back by a token for another',
    () => ({ key: victim!.key, enrollment_token: tokens.pinned }),
    notEnrolled,
  ),
  row(
    'an agent comes back by a revoked token',
    () => ({ key: victim!.key, enrollment_token: tokens.revoked }),
    notEnrolled,
  ),
  row('a revoked agent comes back', () => ({ key: gone!.key }), { status: 401, code: 'token-revoked' }),
  {
    ...row("an agent comes back by a rival's token", () => ({ key: victim!.key, enrollment_token: tokens.rival }), {
      status: 201,
      changes: true,
    }),
    async after({ admin }) {
      const { owner } = await admin(getAgent, { params: { agent_id: victim!.agentId } });
      expect(owner, 'whose it was').toBe('acme');
    },
  },
  {
    what: 'the name of another agent, which is no way to be it',
    async send(stage) {
      const before = await agentsNow(stage);
      const answer = await register(stage, await registrationOf(stage, { display_name: 'build-1.eu' }));
      expect(read(answer).agent_id).not.toBe(narrow!.agentId);
      expect(await agentsNow(stage)).toBe(before + 1);
      return { ...answer, body: '' };
    },
    status: 201,
    changes: true,
  },
  {
    what: 'a registration a second time',
    async send(stage) {
      const registration = await registrationOf(stage);
      const [before, first] = [await agentsNow(stage), await register(stage, registration)];
      expect(first.status).toBe(201);
      const again = await register(stage, registration);
      expect(await agentsNow(stage)).toBe(before + 1);
      return again;
    },
    changes: true,
    ...noKey,
  },
];

/** Many at once. */
const CROWDS: Row[] = [
  {
    what: 'fifty for the one use of a token: one gets in',
    async send(stage) {
      const body = { max_uses: 1 };
      const { enrollment_token } = await stage.owner.call(createEnrollmentToken, { body });
      const before = await agentsNow(stage);
      const wishes = await Promise.all(Array.from({ length: 50 }, () => registrationOf(stage, { enrollment_token })));
      const answers = await Promise.all(wishes.map((wish) => register(stage, wish)));
      expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
      expect(await agentsNow(stage)).toBe(before + 1);
      expect(await usesOf(stage, enrollment_token)).toBe(1);
      return answers.find(({ status }) => status !== 201)!;
    },
    changes: true,
    ...notEnrolled,
  },
  {
    what: 'one key fifty times: one agent, one use',
    async send(stage) {
      const { enrollment_token } = await stage.owner.call(createEnrollmentToken, { body: { max_uses: 50 } });
      const key = newKey();
      const before = await agentsNow(stage);
      const wishes = await Promise.all(
        Array.from({ length: 50 }, () => registrationOf(stage, { key, enrollment_token })),
      );
      const answers = await Promise.all(wishes.map((wish) => register(stage, wish)));
      expect(new Set(answers.map((answer) => read(answer).agent_id)).size, 'ids').toBe(1);
      expect(await agentsNow(stage)).toBe(before + 1);
      expect(await usesOf(stage, enrollment_token)).toBe(1);
      return { ...answers[0]!, body: '' };
    },
    status: 201,
    changes: true,
  },
  {
    what: 'a thousand guesses from one address',
    send: (stage) => guess(stage, 1_000, () => from('203.0.113.1')),
    status: 429,
    code: 'rate-limited',
  },
  {
    what: 'guesses from one address that names others in front of it',
    send: (stage) => guess(stage, 60, (n) => from(`192.0.2.${n}, 203.0.113.2`)),
    status: 429,
    code: 'rate-limited',
  },
  {
    what: 'guesses from all the addresses of one customer',
    send: (stage) => guess(stage, 60, (n) => from(`2001:db8:1:1::${n.toString(16)}`)),
    status: 429,
    code: 'rate-limited',
  },
  {
    what: 'a good token where so many were guessed',
    async send(stage) {
      const address = () => from('203.0.113.3');
      await guess(stage, 60, address);
      return post(`${stage.url}/ains/agents`, { registration: await registrationOf(stage) }, address());
    },
    status: 429,
    code: 'rate-limited',
  },
];

/** Guesses so often; what is answered in the end, when few were listened to. */
async function guess(stage: Stage, times: number, from: (n: number) => Record<string, string>): Promise<Answer> {
  const registration = await registrationOf(stage, {
    enrollment_token: resigned(stage.enrollment_token, {}, newKey()),
  });
  const answers: Answer[] = [];
  const queue = Array.from({ length: times }, (_, n) => n).entries();
  const work = async () => {
    for (const [n] of queue) answers.push(await post(`${stage.url}/ains/agents`, { registration }, from(n)));
  };
  await Promise.all(Array.from({ length: 40 }, work));
  const heard = answers.filter(({ status }) => status === 401).length;
  expect(heard, 'listened to').toBeGreaterThanOrEqual(20);
  // Those that were being looked at when the twentieth failed.
  expect(heard, 'listened to').toBeLessThan(30);
  const last = answers.findLast(({ status }) => status !== 401)!;
  expect(Number(last.headers['retry-after'])).toBeGreaterThan(0);
  return last;
}

const path = '/ains/enrollment-tokens';
/** Making and seeing tokens. */
const MAKERS: Row[] = [
  makes('a token for another owner', { owner: 'rival' }, beyond),
  makes('a token for everybody’s work', { serves: 'all' }, beyond),
  { what: 'a token made by an agent', send: (stage) => forge(stage, { path, body: {}, as: 'agent' }), ...beyond },
  makes('a token for ever', { ttl_seconds: 86_400 * 91 }, malformed),
  makes('a token for no agent', { max_uses: 0 }, malformed),
  makes('a token for a key that is none', { key_thumbprint: 'x' }, malformed),
];
function makes(what: string, body: object, expected: Pick<Row, 'status' | 'code'>): Row {
  return { what, send: (stage) => forge(stage, { path, body }), ...expected };
}
const SEEN: Row[] = [
  {
    what: 'a look at all tokens',
    send: (stage) => forge(stage, { path: `${path}?limit=5`, as: 'admin' }),
    status: 200,
  },
  { what: 'a look at one token', send: (stage) => forge(stage, { path: `${path}/${ids.revoked}` }), status: 200 },
  {
    what: "a look at another owner's token",
    send: (stage) => forge(stage, { path: `${path}/${ids.revoked}`, as: 'rival' }),
    status: 404,
    code: 'not-found',
  },
  {
    what: "another owner's token, revoked",
    send: (stage) => forge(stage, { path: `${path}/${stage.enrollment_token_id}`, method: 'DELETE', as: 'rival' }),
    status: 404,
    code: 'not-found',
  },
];

attacks(() => stage, numbered('B', [...TOKENS, ...BEYOND, ...KNOWN, ...CROWDS, ...MAKERS, ...SEEN]));
