import { generateKeyPairSync } from 'node:crypto';
import { newId } from '@muster/shared/ids';
import { newKey, publicJwk } from '@muster/testing/jwt';
import { afterAll, beforeAll } from 'vitest';
import { byForeignKey, bySmallOrder, FOREIGN_JWK, rewritten, SMALL_ORDER } from '../fixtures/forge.ts';
import { elsewhere, register, registrationOf, row, type Wish } from './doors.ts';
import { numbered } from './requests.ts';
import { type Attack, attacks, post, type Stage, setStage } from './stage.ts';

type Row = Omit<Attack, 'id'>;

let stage: Stage;
beforeAll(async () => {
  // Behind a proxy, because of one address so many that fail are not listened to.
  stage = await setStage({ env: { MUSTER_BEHIND_PROXY: 'true' } });
});
afterAll(() => stage.coordinator.stop());

const malformed = { status: 422, code: 'validation-failed' } as const;
const noKey = { status: 401, code: 'invalid-token' } as const;

const ED448 = generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' });
const X25519 = generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' });
const written = (jwk: ReturnType<typeof newKey>, x: string) => ({
  header: { jwk: { ...publicJwk(jwk), x } },
  key: jwk,
});

/** Keys that are none to be known by. */
const KEYS: Row[] = [
  row('the private key sent with it', () => ownKey((key) => ({ ...key })), noKey),
  row('no key in its header', () => ({ header: { jwk: undefined } }), noKey),
  row('null for a key', () => ({ header: { jwk: null } }), noKey),
  row('text for a key', () => ({ header: { jwk: JSON.stringify(publicJwk(newKey())) } }), noKey),
  row('a key set for a key', () => ownKey((key) => ({ keys: [publicJwk(key)] })), noKey),
  row("another agent's key", ({ agent }) => ({ header: { jwk: publicJwk(agent.key) } }), noKey),
  row('an X25519 key', () => ({ header: { jwk: X25519 } }), noKey),
  row('an Ed448 key', () => ({ header: { jwk: ED448 } }), noKey),
  row('a secret for a key', () => ({ header: { jwk: { kty: 'oct', k: 'AAAA' } } }), noKey),
  row('a key with an alg', () => ownKey((key) => ({ ...publicJwk(key), alg: 'EdDSA' })), noKey),
  row('a key with a kid', () => ownKey((key) => ({ ...publicJwk(key), kid: '../../x' })), noKey),
  row('a key of 31 bytes', () => written(newKey(), Buffer.alloc(31, 7).toString('base64url')), noKey),
  row('a key that is padded', () => otherwise((x) => `${x}=`), noKey),
  row('a key with a blank', () => otherwise((x) => ` ${x}`), noKey),
  row('a key with bits that mean nothing', () => otherwise(withIdleBit), noKey),
  ...(['RS256', 'ES256'] as const).map(
    (alg): Row => ({
      what: `a key and a signature of ${alg}`,
      send: async (stage) =>
        register(stage, byForeignKey(await registrationOf(stage), alg, { header: { jwk: FOREIGN_JWK[alg] } })),
      ...noKey,
    }),
  ),
  ...SMALL_ORDER.map(
    (jwk, n): Row => ({
      what: `a key that anybody can sign by (${n + 1} of ${SMALL_ORDER.length}), well signed`,
      send: async (stage) => register(stage, bySmallOrder(await registrationOf(stage), jwk)),
      ...noKey,
    }),
  ),
];

function ownKey(jwk: (key: ReturnType<typeof newKey>) => object): Wish {
  const key = newKey();
  return { key, header: { jwk: jwk(key) } };
}
/** The same key, written as it is not. */
function otherwise(write: (x: string) => string): Wish {
  const key = newKey();
  return written(key, write(publicJwk(key).x!));
}
/** The last of 43 characters holds two bits that mean nothing. */
function withIdleBit(x: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return x.slice(0, 42) + alphabet[alphabet.indexOf(x[42]!) + 1];
}

/** What no agent may say of itself. */
const FIELDS: Row[] = [
  ...[
    ['a name of 10,000 letters', { display_name: 'a'.repeat(10_000) }],
    ['an empty name', { display_name: '' }],
    ['a name with a NUL', { display_name: 'a\0b' }],
    ['a name with half a character', { display_name: 'a\ud800b' }],
    ['a label with half a character', { labels: { a: 'b\ud800' } }],
    ['a label with a NUL', { labels: { a: 'b\0' } }],
    ['a name that is an object', { display_name: { $ne: null } }],
    ['a capability in letters that look like it', { capabilities: ['w\u043erk'] }],
    ['a capability that is a pattern', { capabilities: ['*'] }],
    ['a capability with a NUL', { capabilities: ['work\0'] }],
    ['no capability', { capabilities: [] }],
    ['400 capabilities', { capabilities: Array.from({ length: 400 }, (_, n) => `work-${n}`) }],
    ['no slots', { slots: 0 }],
    ['a slot less than none', { slots: -1 }],
    ['half a slot', { slots: 1.5 }],
    ['a billion slots', { slots: 1e9 }],
    ['a life that is no id', { boot_id: 'boot_1' }],
    ["another kind's id for a life", { boot_id: newId('agent') }],
    ['33 labels', { labels: Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`l${n}`, ''])) }],
    ['a version that is text', { protocol_version: '1' }],
    ['an owner', { owner: 'admin' }],
    ['whom it serves', { serves: 'all' }],
    ['an id', { agent_id: newId('agent') }],
    ['a trust score', { trust_score: 1 }],
    ['a mode', { mode: 'OPEN' }],
    ['an epoch', { token_epoch: -1 }],
    ['a constructor', { constructor: { prototype: { owner: 'admin' } } }],
  ].map(([what, claims]) => row(`it says: ${what}`, () => ({ claims: claims as object }), malformed)),
  {
    what: 'it says: a prototype',
    async send(stage) {
      const key = newKey();
      const good = await registrationOf(stage, { key });
      return register(
        stage,
        rewritten(good, { claims: (text) => text.replace('{', '{"__proto__":{"owner":"admin"},') }, key),
      );
    },
    ...malformed,
  },
  {
    what: 'an owner beside the registration',
    send: async (stage) =>
      post(`${stage.url}/ains/agents`, { registration: await registrationOf(stage), owner: 'admin' }, elsewhere()),
    ...malformed,
  },
  row('it says: a version of tomorrow', () => ({ claims: { protocol_version: 2 } }), {
    status: 426,
    code: 'upgrade-required',
  }),
];

attacks(() => stage, numbered('BR', [...KEYS, ...FIELDS]));
