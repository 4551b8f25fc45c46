import { crc32 } from 'node:zlib';
import { revokeApiKey, rotateApiKey } from '@muster/shared/contract/access';
import type { Scope } from '@muster/shared/contract/scopes';
import { newId } from '@muster/shared/ids';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeKey, type TestKey } from '../fixtures/keys.ts';
import { forge, numbered, read } from './requests.ts';
import { type Answer, type Attack, ask, attacks, type Stage, setStage, shout } from './stage.ts';

type Row = Omit<Attack, 'id'>;
type Name =
  | 'reader'
  | 'revoked'
  | 'expired'
  | 'rotated'
  | 'overlapped'
  | 'elsewhere'
  | 'spent'
  | 'keeper'
  | 'leaving'
  | 'wider';

let stage: Stage;
const keys = {} as Record<Name, TestKey>;
const PATH = '/aitp/tasks';
const KEEPER: Scope[] = ['keys:admin', 'tasks:read'];

beforeAll(async () => {
  stage = await setStage();
  const { coordinator, admin } = stage;
  const in_ = async (minutes: number) =>
    new Date((await coordinator.clock.now()).getTime() + minutes * 60_000).toISOString();
  const make = (more: Parameters<typeof makeKey>[1]) => makeKey(stage, { owner: 'acme', ...more });
  const read: { scopes: Scope[] } = { scopes: ['tasks:read'] };
  keys.reader = await make(read);
  keys.revoked = await make(read);
  keys.expired = await make({ ...read, expires_at: await in_(1) });
  keys.rotated = await make(read);
  keys.overlapped = await make(read);
  keys.elsewhere = await make({ ...read, allowed_addresses: ['203.0.113.0/24', '2001:db8::/32'] });
  keys.spent = await make({ ...read, requests_per_minute: 1 });
  const limits = { requests_per_minute: 10_000, expires_at: await in_(60 * 24), allowed_addresses: ['127.0.0.0/8'] };
  keys.keeper = await make({ scopes: KEEPER, ...limits });
  keys.leaving = await make({ scopes: KEEPER });
  keys.wider = await make({ scopes: ['admin'] });
  // Used while they were good, so that what is remembered of them is asked too.
  for (const name of ['reader', 'revoked', 'expired', 'rotated', 'overlapped'] as const)
    expect((await look(bearer(keys[name].api_key))).status, name).toBe(200);
  const params = ({ api_key_id }: TestKey) => ({ params: { api_key_id } });
  await admin(revokeApiKey, params(keys.revoked));
  await admin(rotateApiKey, { ...params(keys.rotated), body: {} });
  await admin(rotateApiKey, { ...params(keys.overlapped), body: { overlap_seconds: 60 } });
  await admin(rotateApiKey, { ...params(keys.leaving), body: { overlap_seconds: 3_600 } });
  expect((await look(bearer(keys.overlapped.api_key))).status, 'in its overlap').toBe(200);
  await coordinator.clock.advance('2m');
  const hashes = await coordinator.sql<{ secret_hash: string }[]>`select secret_hash from api_keys`;
  stage.secrets.push(...hashes.map((it) => it.secret_hash));
  for (const { api_key } of Object.values(keys)) stage.secrets.push(api_key, secretIn(api_key));
});
afterAll(() => stage.coordinator.stop());

/** A look at the tasks, which a key for reading them may have. */
const look = (headers: Record<string, string>, path = PATH) => ask(stage.url + path, { headers });
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const idIn = (key: string) => key.split('_')[1]!;
const secretIn = (key: string) => key.slice(key.lastIndexOf('_') + 1);

/** A key of the right form, with the right checksum. */
function keyOf(id: string, secret: string): string {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  let value = crc32(`mk_${id}_${secret}`);
  let checksum = '';
  for (; checksum.length < 6; value = Math.floor(value / 62)) checksum = digits[value % 62]! + checksum;
  return `mk_${id}_${secret}${checksum}`;
}
const digitsOf = (key: string) => secretIn(key).slice(0, 43);
const another = (digit: string) => (digit === 'A' ? 'B' : 'A');
const flipCase = (text: string) =>
  text.replace(/[a-z]/gi, (it) => (it === it.toLowerCase() ? it.toUpperCase() : it.toLowerCase()));
/** The same id with another secret, and the checksum that goes with it. */
const withSecret = (change: (secret: string) => string) => (key: string) => keyOf(idIn(key), change(digitsOf(key)));

const unknown = { status: 401, code: 'invalid-api-key' } as const;
const strange = { status: 401, code: 'unauthenticated' } as const;
const malformed = { status: 400, code: 'malformed-request' } as const;
const beyond = { status: 403, code: 'insufficient-scope' } as const;
const invalid = { status: 422, code: 'validation-failed' } as const;
const missing = { status: 404, code: 'not-found' } as const;

const FORMS: [what: string, change: (key: string) => string][] = [
  ['another last character', (key) => key.slice(0, -1) + another(key.at(-1)!)],
  ['another first character of its checksum', (key) => key.slice(0, -6) + another(key.at(-6)!) + key.slice(-5)],
  ['no checksum', (key) => key.slice(0, -6)],
  ['the checksum of another', (key) => key.slice(0, -6) + stage.owner.api_key.slice(-6)],
  ['one character less', (key) => key.slice(0, -1)],
  ['one character more', (key) => `${key}A`],
  ['another first character of its secret, rightly summed', withSecret((it) => another(it[0]!) + it.slice(1))],
  ['another last character of its secret, rightly summed', withSecret((it) => it.slice(0, -1) + another(it.at(-1)!))],
  ['the secret of another key, rightly summed', withSecret(() => digitsOf(stage.owner.api_key))],
  ['its secret backwards, rightly summed', withSecret((it) => [...it].reverse().join(''))],
  ['its secret in the other case, rightly summed', withSecret(flipCase)],
  ['the id of another key, rightly summed', (key) => keyOf(idIn(stage.owner.api_key), digitsOf(key))],
  ['an id that never was, rightly summed', (key) => keyOf(newId('key').slice('key_'.length), digitsOf(key))],
  ['the id of the admin key, rightly summed', (key) => keyOf('admin', digitsOf(key))],
  ['another prefix', (key) => key.replace('mk_', 'ak_')],
  ['its prefix in capitals', (key) => key.replace('mk_', 'MK_')],
  ['no prefix', (key) => key.slice('mk_'.length)],
  ['its id in capitals', (key) => key.replace(idIn(key), idIn(key).toUpperCase())],
  ['all of it in capitals', (key) => key.toUpperCase()],
  ['its id with the word before it', (key) => key.replace('mk_', 'mk_key_')],
  ['SQL for an id', (key) => `mk_'or'1'='1_${secretIn(key)}`],
  ['a pattern for an id', (key) => `mk_%_${secretIn(key)}`],
  ['letters from elsewhere', (key) => key.replace('mk_', 'm\u00ea_')],
  ['10 KiB behind it', (key) => key + 'A'.repeat(10_240)],
  ['its id alone', (key) => idIn(key)],
  ['the id that lists show', () => keys.reader.api_key_id],
  ['nothing but the word null', () => 'null'],
];
/** Of the admin's key, which is compared as it is. */
const ADMIN: [what: string, change: (key: string) => string][] = [
  ['all but its last character', (key) => key.slice(0, -1)],
  ['one character more', (key) => `${key}A`],
  ['the other case', flipCase],
  ['its first half', (key) => key.slice(0, key.length / 2)],
];

const GUESSES: Row[] = [
  ...FORMS.map(
    ([what, change]): Row => ({
      what: `a key with ${what}`,
      send: () => look(bearer(change(keys.reader.api_key))),
      ...unknown,
    }),
  ),
  ...ADMIN.map(
    ([what, change]): Row => ({
      what: `the admin key with ${what}`,
      send: ({ coordinator }) => look(bearer(change(coordinator.adminKey))),
      ...unknown,
    }),
  ),
  {
    what: 'the hash of a key, as the database has it, for its secret',
    async send({ coordinator }) {
      const [row] = await coordinator.sql<{ secret_hash: string }[]>`
        select secret_hash from api_keys where api_key_id = ${keys.reader.api_key_id}`;
      return look(bearer(keyOf(idIn(keys.reader.api_key), row!.secret_hash)));
    },
    ...unknown,
  },
  {
    what: 'two hundred secrets for one id',
    async send() {
      const tries = Array.from({ length: 200 }, (_, n) =>
        keyOf(idIn(keys.reader.api_key), String(n).padStart(43, 'A')),
      );
      const answers: Answer[] = [];
      const work = async () => {
        for (let key = tries.pop(); key; key = tries.pop()) answers.push(await look(bearer(key)));
      };
      await Promise.all(Array.from({ length: 20 }, work));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
      return answers.at(-1)!;
    },
    ...unknown,
  },
];

/** Keys that were good. */
const FORMER: Row[] = [
  { what: 'a key that was revoked', send: () => look(bearer(keys.revoked.api_key)), ...unknown },
  { what: 'a key that was revoked, as X-API-Key', send: () => look({ 'x-api-key': keys.revoked.api_key }), ...unknown },
  { what: 'a key that has expired', send: () => look(bearer(keys.expired.api_key)), ...unknown },
  { what: 'a key that has another secret by now', send: () => look(bearer(keys.rotated.api_key)), ...unknown },
  { what: 'a key whose overlap has passed', send: () => look(bearer(keys.overlapped.api_key)), ...unknown },
  {
    what: 'a key in the moment after it was revoked, a hundred times at once',
    async send({ admin }) {
      const { api_key, api_key_id } = await makeKey(stage, { scopes: ['tasks:read'] });
      expect((await look(bearer(api_key))).status).toBe(200);
      await admin(revokeApiKey, { params: { api_key_id } });
      const answers = await Promise.all(Array.from({ length: 100 }, () => look(bearer(api_key))));
      expect(answers.filter(({ status }) => status !== 401)).toEqual([]);
      return answers[0]!;
    },
    changes: ['api_keys', 'events', 'audit_logs'],
    ...unknown,
  },
];

const ADDRESSES: Row[] = [
  ['', {}],
  [', that X-Forwarded-For makes another', { 'x-forwarded-for': '203.0.113.7' }],
  [', that X-Real-IP makes another', { 'x-real-ip': '203.0.113.7' }],
  [', that Forwarded makes another', { forwarded: 'for=203.0.113.7' }],
  [', that Host makes another', { 'x-forwarded-host': '203.0.113.7', 'cf-connecting-ip': '203.0.113.7' }],
].map(([what, headers]) => ({
  what: `a key from an address it is not for${what}`,
  send: () => look({ ...bearer(keys.elsewhere.api_key), ...(headers as Record<string, string>) }),
  ...unknown,
}));

/** A good key, sent as none is taken. */
const CARRIERS: Row[] = [
  { what: 'a key in the query', send: () => look({}, `${PATH}?api_key=${keys.reader.api_key}`), ...strange },
  {
    what: 'a key in the query, as a token',
    send: () => look({}, `${PATH}?access_token=${keys.reader.api_key}`),
    ...strange,
  },
  { what: 'a key in the path', send: () => look({}, `${PATH}/${keys.reader.api_key}`), ...strange },
  { what: 'a key in a cookie', send: () => look({ cookie: `api_key=${keys.reader.api_key}` }), ...strange },
  {
    what: 'a key in the body',
    send: () => forge(stage, { as: 'nobody', path: PATH, body: { api_key: keys.reader.api_key } }),
    ...strange,
  },
  {
    what: 'a key as Basic',
    send: () => look({ authorization: `Basic ${btoa(`${keys.reader.api_key}:`)}` }),
    ...strange,
  },
  {
    what: 'a key as user of the URL',
    send: () => look({ authorization: `Basic ${btoa(`:${keys.reader.api_key}`)}` }),
    ...strange,
  },
  { what: 'a key without a scheme', send: () => look({ authorization: keys.reader.api_key }), ...strange },
  { what: 'an empty X-API-Key', send: () => look({ 'x-api-key': '' }), ...strange },
  {
    what: 'a key as DPoP, when it is known',
    async send() {
      expect((await look(bearer(keys.reader.api_key))).status).toBe(200);
      return look({ authorization: `DPoP ${keys.reader.api_key}` });
    },
    ...unknown,
  },
  {
    what: 'a key in both headers',
    send: () => look({ ...bearer(keys.reader.api_key), 'x-api-key': keys.reader.api_key }),
    ...malformed,
  },
  {
    what: 'two keys in one header',
    send: () => look({ 'x-api-key': `${keys.reader.api_key}, ${keys.wider.api_key}` }),
    ...malformed,
  },
  {
    what: 'two X-API-Key headers',
    send: ({ url }) =>
      shout(
        url,
        `GET ${PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: ${keys.reader.api_key}\r\nX-Api-Key: ${keys.wider.api_key}\r\n\r\n`,
      ),
    ...malformed,
  },
];

/** As the holder of a key. */
const as = (name: Name, method: string, path: string | (() => string), body?: unknown) => () => {
  const { api_key } = keys[name];
  const at = typeof path === 'string' ? path : path();
  return forge(stage, { as: 'nobody', method, path: at, body, headers: bearer(api_key) });
};
const KEYS = '/ains/api-keys';
const keyPath =
  (name: Name, verb = '') =>
  () =>
    `${KEYS}/${keys[name].api_key_id}${verb}`;
const work = { task_type: 'work', input_data: null };

const SCOPE: Row[] = [
  { what: 'a reader submits', send: as('reader', 'POST', PATH, work), ...beyond },
  { what: 'a reader cancels', send: as('reader', 'POST', () => `${PATH}/${stage.task_id}/cancel`, {}), ...beyond },
  { what: 'a reader looks at agents', send: as('reader', 'GET', '/ains/agents'), ...beyond },
  { what: 'a reader looks at the audit log', send: as('reader', 'GET', '/ains/audit-logs'), ...beyond },
  { what: 'a reader makes a key', send: as('reader', 'POST', KEYS, { name: 'x', scopes: ['tasks:read'] }), ...beyond },
  { what: 'a reader rotates itself', send: as('reader', 'POST', keyPath('reader', '/rotate'), {}), ...beyond },
  { what: 'a reader widens itself', send: as('reader', 'PATCH', keyPath('reader'), { scopes: ['admin'] }), ...beyond },
  {
    what: 'a key with more requests than it may make',
    async send() {
      const answers = [await look(bearer(keys.spent.api_key)), await look(bearer(keys.spent.api_key))];
      expect(answers[1]!.headers).toMatchObject({ ratelimit: expect.stringMatching(/^"default";r=0;t=\d+$/) });
      expect(Number(answers[1]!.headers['retry-after'])).toBeGreaterThan(0);
      return answers[1]!;
    },
    status: 429,
    code: 'rate-limited',
  },
];

const wish = { name: 'x', scopes: ['tasks:read'] };
const LATE = '2100-01-01T00:00:00.000Z';
/** What a key for keys neither makes nor touches: what reaches further than itself. */
const REACH: Row[] = [
  ...[
    ['for everything', { scopes: ['admin'] }],
    ['for more', { scopes: ['tasks:read', 'tasks:write'] }],
    ['of another owner', { owner: 'rival' }],
    ['of the admin', { owner: 'admin' }],
    ['for more requests', { requests_per_minute: 10_001 }],
    ['for longer', { expires_at: LATE }],
    ['for any address', { allowed_addresses: ['0.0.0.0/0'] }],
    ['for one address more', { allowed_addresses: ['127.0.0.0/8', '10.0.0.1'] }],
  ].map(
    ([what, over]): Row => ({
      what: `a keeper of keys makes one ${what}`,
      send: as('keeper', 'POST', KEYS, { ...wish, ...(over as object) }),
      ...beyond,
    }),
  ),
  ...[
    ['scopes', { scopes: [...KEEPER, 'admin'] }],
    ['requests', { requests_per_minute: 10_000_000 }],
    ['end', { expires_at: null }],
    ['addresses', { allowed_addresses: null }],
  ].map(
    ([what, body]): Row => ({
      what: `a keeper of keys widens its own ${what}`,
      send: as('keeper', 'PATCH', keyPath('keeper'), body),
      ...beyond,
    }),
  ),
  {
    what: "a keeper of keys rotates an admin's key",
    send: as('keeper', 'POST', keyPath('wider', '/rotate'), {}),
    ...beyond,
  },
  { what: "a keeper of keys revokes an admin's key", send: as('keeper', 'DELETE', keyPath('wider')), ...beyond },
  {
    what: "a keeper of keys narrows an admin's key",
    send: as('keeper', 'PATCH', keyPath('wider'), { scopes: ['tasks:read'] }),
    ...beyond,
  },
  ...(
    [
      ['looks at', 'GET', ''],
      ['revokes', 'DELETE', ''],
      ['rotates', 'POST', '/rotate'],
    ] as const
  ).map(
    ([verb, method, path]): Row => ({
      what: `a keeper of keys ${verb} another owner's key`,
      send: as('keeper', method, () => `${KEYS}/${stage.rival.api_key_id}${path}`),
      ...missing,
    }),
  ),
  {
    what: 'a key that is on its way out makes one that outlives it',
    send: as('leaving', 'POST', KEYS, { ...wish, expires_at: LATE }),
    ...beyond,
  },
  { what: 'an agent makes a key', send: (it) => forge(it, { as: 'agent', path: KEYS, body: wish }), ...beyond },
];

/** Keys that are none. */
const WISHES: Row[] = [
  ['without a scope', { scopes: [] }],
  ['for a scope that is none', { scopes: ['root'] }],
  ['for a scope in capitals', { scopes: ['ADMIN'] }],
  ['without requests', { requests_per_minute: 0 }],
  ['for a range that is none', { allowed_addresses: ['10.0.0.0/33'] }],
  ['for a name as address', { allowed_addresses: ['localhost'] }],
  ['for an address in octal', { allowed_addresses: ['010.0.0.1'] }],
  ['for no address', { allowed_addresses: [] }],
  ['with an end that is no time', { expires_at: 'never' }],
  ['with a name that holds a NUL', { name: 'a\0b' }],
  ['with its own id', { api_key_id: newId('key') }],
  ['with its own hash', { secret_hash: 'A'.repeat(43) }],
  ['with its own secret', { api_key: 'mk_x' }],
].map(([what, over]) => ({
  what: `the admin makes a key ${what}`,
  send: (it: Stage) => forge(it, { as: 'admin', path: KEYS, body: { ...wish, ...(over as object) } }),
  ...invalid,
}));

/** What is shown of keys: never a secret, nor its hash, which is looked at for all rows. */
const SHOWN: Row[] = [
  { what: 'the list of keys', send: (it) => forge(it, { as: 'admin', path: `${KEYS}?limit=8` }), status: 200 },
  { what: 'a key', send: (it) => forge(it, { as: 'admin', path: keyPath('reader')() }), status: 200 },
  { what: 'a revoked key', send: (it) => forge(it, { as: 'admin', path: keyPath('revoked')() }), status: 200 },
  {
    what: 'a key that is changed',
    send: (it) => forge(it, { as: 'admin', method: 'PATCH', path: keyPath('wider')(), body: { name: 'y' } }),
    status: 200,
    changes: ['api_keys', 'events', 'audit_logs'],
  },
  {
    what: 'the audit log of keys',
    send: (it) => forge(it, { as: 'admin', path: '/ains/audit-logs?limit=5' }),
    status: 200,
  },
];

attacks(
  () => stage,
  numbered('D', [...[GUESSES, FORMER, ADDRESSES, CARRIERS].flat(), ...[SCOPE, REACH, WISHES, SHOWN].flat()]),
);

test('whoever guesses learns nothing: unknown, wrong, revoked, expired and rotated are answered alike', async () => {
  const { reader, revoked, expired, rotated, overlapped } = keys;
  const [id, secret] = [newId('key').slice('key_'.length), digitsOf(reader.api_key)];
  const guesses = [keyOf(id, secret), withSecret((it) => it.replace(/./, another))(reader.api_key), 'x'];
  const former = [revoked, expired, rotated, overlapped].map((it) => it.api_key);
  const told = await Promise.all(
    [...guesses, ...former].map(async (key) => {
      const { status, body, headers } = await look(bearer(key));
      const { request_id: _, ...problem } = read({ status, body, headers });
      return { status, problem, challenge: headers['www-authenticate'] };
    }),
  );
  for (const it of told) expect(it).toEqual(told[0]);
});

test('nor by the time that it takes', async () => {
  const good = keys.reader.api_key;
  const guesses: Record<string, () => string> = {
    unknown: () => keyOf(newId('key').slice('key_'.length), digitsOf(good)),
    wrong: withSecret((it) => another(it[0]!) + it.slice(1)).bind(null, good),
    close: withSecret((it) => it.slice(0, -1) + another(it.at(-1)!)).bind(null, good),
  };
  const times: Record<string, number[]> = { unknown: [], wrong: [], close: [] };
  // By turns, so that whatever else the machine does falls on all of them.
  for (let n = 0; n < 334; n += 1)
    for (const [name, guess] of Object.entries(guesses)) {
      const key = guess();
      const began = performance.now();
      await look(bearer(key));
      times[name]!.push(performance.now() - began);
    }
  const median = (of: number[]) => of.sort((a, b) => a - b)[of.length >> 1]!;
  const [unknown, wrong, close] = [median(times.unknown!), median(times.wrong!), median(times.close!)];
  // Hashing a secret as slowly as passwords are would show ten times over.
  for (const it of [wrong, close])
    expect(Math.abs(it - unknown), JSON.stringify([unknown, wrong, close])).toBeLessThan(unknown);
});

test('what is good is good', async () => {
  for (const headers of [bearer(keys.reader.api_key), { 'x-api-key': keys.reader.api_key }])
    expect((await look(headers)).status).toBe(200);
  const made = await as('keeper', 'POST', KEYS, wish)();
  expect(made.status).toBe(201);
  expect((await look(bearer(read<{ api_key: string }>(made).api_key))).status).toBe(200);
});
