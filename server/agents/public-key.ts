import { ProblemError } from '@muster/shared/errors';
import { calculateJwkThumbprint, type JWK } from 'jose';

/** An agent's public key, and its thumbprint (RFC 7638). */
export interface PublicKey {
  jwk: { kty: 'OKP'; crv: 'Ed25519'; x: string };
  jkt: string;
}

/** The field of the curve. */
const P = 2n ** 255n - 19n;
const ORDER_8_Y = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
/**
 * The y of the eight points of small order, both signs: by such a key anybody can sign what verifies (Chalkias, Garillot,
 * Nikolaenko, "Taming the many EdDSAs", 2020, table 1). Node takes them.
 */
const SMALL_ORDER_Y = new Set([0n, 1n, P - 1n, ORDER_8_Y, P - ORDER_8_Y]);

const MEMBERS = ['kty', 'crv', 'x'];

/** The public key a JWK is. Refused: another kind, a private half or anything else beside it, a second way to write the same key, a key of small order. */
export async function publicKeyOf(jwk: unknown, what: string): Promise<PublicKey> {
  const { kty, crv, x, ...others } = (jwk ?? {}) as JWK;
  if (kty !== 'OKP' || crv !== 'Ed25519' || typeof x !== 'string' || !isCanonical(x))
    throw new ProblemError('invalid-token', `${what} must be an Ed25519 public key`);
  const [extra] = Object.keys(others);
  if (extra !== undefined)
    throw new ProblemError(
      'invalid-token',
      `${what} must have ${MEMBERS.join(', ')} only, not ${JSON.stringify(extra.slice(0, 40))}`,
    );
  const key = { kty, crv, x } as PublicKey['jwk'];
  return { jwk: key, jkt: await calculateJwkThumbprint(key) };
}

function isCanonical(x: string): boolean {
  const bytes = Buffer.from(x, 'base64url');
  if (bytes.length !== 32 || bytes.toString('base64url') !== x) return false;
  // Little-endian; the highest bit is the sign of x.
  const y = BigInt(`0x${bytes.reverse().toString('hex')}`) & (2n ** 255n - 1n);
  return y < P && !SMALL_ORDER_Y.has(y);
}
