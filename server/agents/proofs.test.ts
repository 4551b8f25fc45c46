import { newId } from '@muster/shared/ids';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import { verifyAssertion, verifyRegistration } from './proofs.ts';

const NOW = new Date('2026-05-01T12:00:00.000Z');
const IAT = NOW.getTime() / 1_000;

describe('proofs of a key', () => {
  let key: Parameters<SignJWT['sign']>[0];
  let jwk: JWK & { x: string };
  beforeAll(async () => {
    const pair = await generateKeyPair('EdDSA', { extractable: true, crv: 'Ed25519' });
    key = pair.privateKey;
    const { x } = await exportJWK(pair.publicKey);
    jwk = { kty: 'OKP', crv: 'Ed25519', x: x! };
  });

  const sign = (typ: string, claims: object, { header = {}, exp = IAT + 60 } = {}) =>
    new SignJWT({ boot_id: newId('boot'), ...claims })
      .setProtectedHeader({ alg: 'EdDSA', typ, ...header })
      .setAudience('muster')
      .setIssuedAt(IAT)
      .setExpirationTime(exp)
      .setJti(newId('req'))
      .sign(key);
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
});
