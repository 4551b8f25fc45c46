import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as signRaw,
  verify as verifyRaw,
} from 'node:crypto';
import { newId } from '@muster/shared/ids';
import { type JWK, SignJWT } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import { verifyAssertion, verifyRegistration } from './proofs.ts';

const NOW = new Date('2026-05-01T12:00:00.000Z');
const IAT = NOW.getTime() / 1_000;

describe('proofs of a key', () => {
  let privateKey: KeyObject;
  let jwk: JWK & { x: string };
  beforeAll(() => {
    const pair = generateKeyPairSync('ed25519');
    privateKey = pair.privateKey;
    jwk = { kty: 'OKP', crv: 'Ed25519', x: pair.publicKey.export({ format: 'jwk' }).x! };
  });

  const sign = (typ: string, claims: object, { header = {}, exp = IAT + 60 } = {}) =>
    new SignJWT({ boot_id: newId('boot'), ...claims })
      .setProtectedHeader({ alg: 'EdDSA', typ, ...header })
      .setAudience('muster')
      .setIssuedAt(IAT)
      .setExpirationTime(exp)
      .setJti(newId('req'))
      .sign(privateKey);
  const registration = ({ exp, ...header }: { exp?: number; jwk?: object } = {}) => {
    const claims = { enrollment_token: 't', protocol_version: 1, display_name: 'a', capabilities: ['work'], slots: 1 };
    return sign('agent-registration+jwt', claims, { header: { jwk, ...header }, ...(exp ? { exp } : {}) });
  };
  const agentId = newId('agent');
  const assertion = (exp?: number) => sign('agent-assertion+jwt', { iss: agentId, sub: agentId }, exp ? { exp } : {});
  const refused = { code: 'invalid-token' };

  test('that live for a minute are taken, however late in it', async () => {
    expect(await verifyRegistration(await registration(), NOW)).toMatchObject({ jwk, claims: { slots: 1 } });
    const late = new Date(NOW.getTime() + 59_000);
    expect(await verifyAssertion(await assertion(), jwk, agentId, late)).toMatchObject({ sub: agentId });
  });

  test.each([61, 3_600, 9e12])(
    'that would live for %d s are refused: their jti would have to be remembered so long',
    async (seconds) => {
      await expect(verifyRegistration(await registration({ exp: IAT + seconds }), NOW)).rejects.toMatchObject(refused);
      await expect(verifyAssertion(await assertion(IAT + seconds), jwk, agentId, NOW)).rejects.toMatchObject(refused);
    },
  );

  test('by a key written in another way than the one there is are refused: it would be another agent', async () => {
    const { x } = jwk;
    // The last of 43 characters holds two bits that mean nothing.
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const loose = [1, 2, 3].map((bits) => x.slice(0, 42) + alphabet[alphabet.indexOf(x[42]!) + bits]);
    for (const other of [...loose, `${x}=`, ` ${x}`, `${x}\n`, `${x.slice(0, 20)}!${x.slice(20)}`]) {
      expect(Buffer.from(other, 'base64url'), other).toEqual(Buffer.from(x, 'base64url'));
      const jwt = await registration({ jwk: { ...jwk, x: other } });
      await expect(verifyRegistration(jwt, NOW), other).rejects.toMatchObject(refused);
    }
  });

  test.each([
    ['no alg', { alg: 'none' }],
    ['an alg of another kind', { alg: 'HS256' }],
    ['the other name of the alg', { alg: 'Ed25519' }],
    ['another typ', { typ: 'agent-assertion+jwt' }],
    ['a typ that is equal but for its case', { typ: 'Agent-Registration+JWT' }],
    ['crit', { crit: ['exp'] }],
    ['b64', { b64: false }],
    ['b64, as crit', { b64: false, crit: ['b64'] }],
    ['jku', { jku: 'http://127.0.0.1/keys' }],
    ['x5u', { x5u: 'http://127.0.0.1/keys' }],
    ['x5c', { x5c: ['MII'] }],
    ['kid', { kid: '../../dev/null' }],
    ['cty', { cty: 'JWT' }],
    ['zip', { zip: 'DEF' }],
  ])('with %s in the header are refused', async (_, header) => {
    const jwt = await registration();
    await expect(verifyRegistration(resigned(jwt, { header }), NOW)).rejects.toMatchObject(refused);
  });

  test('that are assertions are refused with a key in the header: theirs is the one registered', async () => {
    const jwt = await sign('agent-assertion+jwt', { iss: agentId, sub: agentId }, { header: { jwk } });
    await expect(verifyAssertion(jwt, jwk, agentId, NOW)).rejects.toMatchObject(refused);
  });

  test.each([
    ['iat 61 s ago', { iat: IAT - 61, exp: IAT - 1 }],
    ['iat in 11 s', { iat: IAT + 11 }],
    ['no iat', { iat: undefined }],
    ['no exp', { exp: undefined }],
    ['exp as text', { exp: String(IAT + 50) }],
    ['exp without end', { exp: 1e308 }],
    ['nbf to come', { nbf: IAT + 30 }],
    ['no jti', { jti: undefined }],
    ['another audience', { aud: 'someone' }],
    ['two audiences', { aud: ['muster', 'someone'] }],
    ['another subject', { sub: newId('agent') }],
    ['another issuer', { iss: newId('agent') }],
    ['a subject that is no id', { sub: 'agent_\u0430' }],
  ])('with %s are refused', async (_, claims) => {
    const jwt = resigned(await assertion(), { claims });
    await expect(verifyAssertion(jwt, jwk, agentId, NOW)).rejects.toMatchObject(refused);
  });

  test('that name something twice are refused, however it is written: two readers could see two things', async () => {
    const [header, claims] = (await assertion())
      .split('.')
      .slice(0, 2)
      .map((part) => Buffer.from(part, 'base64url').toString());
    const twice = [
      [header!.replace('{', '{"alg":"none",'), claims!],
      [header!, claims!.replace('{', `{"sub":"${newId('agent')}",`)],
      [header!, claims!.replace('{', '{"\\u0073ub" : 1,')],
    ];
    for (const [head, body] of twice) {
      await expect(verifyAssertion(signText(head!, body!), jwk, agentId, NOW), body).rejects.toMatchObject(refused);
    }
    // What only looks so is fine.
    const quoted = claims!.replace('{', '{"jti":"a \\"sub\\": x",').replace(/,"jti":"req[^"]*"/, '');
    expect(await verifyAssertion(signText(header!, quoted), jwk, agentId, NOW)).toMatchObject({ sub: agentId });
  });

  test.each(['', '.', '..', 'a.b', 'a.b.c.d', 'null.null.AA', 'W10.W10.AA', `${'['.repeat(9_000)}.e30.AA`])(
    'that are no JWT are refused: %#',
    async (text) => {
      const jwts = [
        text,
        text
          .split('.')
          .map((part) => Buffer.from(part).toString('base64url'))
          .join('.'),
      ];
      for (const jwt of jwts) await expect(verifyRegistration(jwt, NOW)).rejects.toMatchObject(refused);
    },
  );

  test('with any bit of the signature changed, or none of it left, are refused', async () => {
    const [header, claims, signature] = (await assertion()).split('.');
    const bytes = Buffer.from(signature!, 'base64url');
    const changed = Array.from({ length: 64 }, (_, n) => {
      const copy = Buffer.from(bytes);
      copy[n]! ^= 1 << (n % 8);
      return copy;
    });
    // S + L verifies too where nobody looks: the same signature, written otherwise.
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const s = BigInt(`0x${Buffer.from(bytes.subarray(32)).reverse().toString('hex')}`) + order;
    const other = Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse();
    for (const copy of [...changed, Buffer.concat([bytes.subarray(0, 32), other]), Buffer.alloc(0), Buffer.alloc(64)]) {
      const jwt = `${header}.${claims}.${copy.toString('base64url')}`;
      await expect(verifyAssertion(jwt, jwk, agentId, NOW)).rejects.toMatchObject(refused);
    }
  });

  describe('by a key that is no good are refused', () => {
    const P = 2n ** 255n - 19n;
    const encoded = (y: bigint, sign = 0n) =>
      Buffer.from((y + (sign << 255n)).toString(16).padStart(64, '0'), 'hex')
        .reverse()
        .toString('base64url');
    const order8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;

    test('because anybody could sign with it: the identity takes the same signature for everything', async () => {
      // R = the identity, S = 0. Node verifies it, over any message.
      const signature = Buffer.concat([Buffer.from([1]), Buffer.alloc(63)]).toString('base64url');
      const header = {
        alg: 'EdDSA',
        typ: 'agent-registration+jwt',
        jwk: { kty: 'OKP', crv: 'Ed25519', x: encoded(1n) },
      };
      const claims = JSON.parse(Buffer.from((await registration()).split('.')[1]!, 'base64url').toString());
      const input = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
      const publicKey = createPublicKey({ key: header.jwk, format: 'jwk' });
      expect(verifyRaw(null, Buffer.from(input), publicKey, Buffer.from(signature, 'base64url'))).toBe(true);
      await expect(verifyRegistration(`${input}.${signature}`, NOW)).rejects.toMatchObject(refused);
    });

    test.each([0n, 1n, P - 1n, order8, P - order8, P, P + 1n, P + 5n])('its y being %d', async (y) => {
      for (const sign of [0n, 1n]) {
        const jwt = resigned(await registration(), { header: { jwk: { ...jwk, x: encoded(y, sign) } } });
        await expect(verifyRegistration(jwt, NOW)).rejects.toMatchObject({
          ...refused,
          message: expect.stringContaining('must be an Ed25519 public key'),
        });
      }
    });

    test.each([
      ['its private half beside it', { d: 'AAAA' }],
      ['another curve', { crv: 'X25519' }],
      ['another kind', { kty: 'EC', crv: 'P-256', y: 'AAAA' }],
      ['an RSA key', { kty: 'RSA', n: 'AAAA', e: 'AQAB' }],
      ['a secret', { kty: 'oct', k: 'AAAA' }],
      ['a kid', { kid: 'x' }],
      ['a name', { alg: 'EdDSA' }],
      ['nothing', { x: '' }],
      ['too little', { x: 'AAAA' }],
    ])('with %s', async (_, over) => {
      const jwt = resigned(await registration(), { header: { jwk: { ...jwk, ...over } } });
      await expect(verifyRegistration(jwt, NOW)).rejects.toMatchObject(refused);
    });
  });

  /** A JWT said otherwise, and signed by the same key again. */
  const resigned = (jwt: string, { header = {}, claims = {} }: { header?: object; claims?: object }) => {
    const [head, body] = jwt
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    return signText(JSON.stringify({ ...head, ...header }), JSON.stringify({ ...body, ...claims }));
  };
  const signText = (header: string, claims: string) => {
    const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(claims).toString('base64url')}`;
    return `${input}.${signRaw(null, Buffer.from(input), privateKey).toString('base64url')}`;
  };
});
