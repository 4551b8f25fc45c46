import { createPrivateKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import {
  calculateJwkThumbprint,
  decodeProtectedHeader,
  errors,
  type JWK,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from 'jose';
import type { Signer } from '../audit/seal.ts';
import type { Clock } from '../platform/clock.ts';
import { type Config, ConfigError } from '../platform/config.ts';
import type { Sql } from '../platform/database.ts';
import { createKeyRing } from './key-ring.ts';
import { secretFile } from './secret-file.ts';
import * as store from './store/signing-keys.ts';

/** Signs with this coordinator's key; verifies what any coordinator of the network signed. */
export interface SigningKeys {
  sign(typ: string, claims: JWTPayload & { sub?: string }, expires: Date): Promise<string>;
  /** The claims, or undefined where the token is not ours, not of this type, expired or changed. */
  verify(token: string, typ: string): Promise<JWTPayload | undefined>;
  jwks(): Promise<{ keys: Record<string, string>[] }>;
  /** Signs plain text, and knows what any coordinator signed so. */
  seal: Signer;
}

/** What our own tokens say of themselves. */
const ISSUER = 'muster';

/** Loads or makes the signing key and makes its public half known to the network. */
export async function openSigningKeys(sql: Sql, config: Config, clock: Clock): Promise<SigningKeys> {
  const privateJwk = loadPrivateJwk(config);
  const { d: _, ...publicJwk } = privateJwk;
  const kid = await calculateJwkThumbprint(publicJwk);
  await store.insertSigningKey(sql, kid, { ...publicJwk, kid, alg: 'EdDSA', use: 'sig' });
  const privateKey = createPrivateKey({ key: privateJwk as never, format: 'jwk' });
  const ring = createKeyRing(sql);
  return {
    sign: (typ, claims, expires) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'EdDSA', typ, kid })
        .setIssuer(ISSUER)
        .setAudience(ISSUER)
        .setIssuedAt(clock.now())
        .setExpirationTime(expires)
        .sign(privateKey),
    async verify(token, typ) {
      const key = await ring.find(kidIn(token));
      if (!key) return undefined;
      try {
        const options = { algorithms: ['EdDSA'], typ, issuer: ISSUER, audience: ISSUER, currentDate: clock.now() };
        return (await jwtVerify(token, key, { ...options, requiredClaims: ['exp', 'iat', 'jti'] })).payload;
      } catch (error) {
        if (error instanceof errors.JOSEError) return undefined;
        throw error;
      }
    },
    seal: {
      kid,
      sign: (text) => sign(null, Buffer.from(text), privateKey).toString('base64url'),
      async verify(wanted, text, signature) {
        const key = await ring.findListed(wanted);
        return key !== undefined && verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64url'));
      },
    },
    jwks: async () => ({ keys: await store.listSigningKeys(sql) }),
  };
}

/** The key a token says it was signed with; none where it is no token. */
function kidIn(token: string): string {
  try {
    return String(decodeProtectedHeader(token).kid);
  } catch {
    return '';
  }
}

function loadPrivateJwk(config: Config): JWK {
  const make = () => JSON.stringify(generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }));
  const text = config.signingKey ?? secretFile(config.dataDir, 'signing-key.json', make).secret;
  try {
    const jwk = JSON.parse(text) as JWK;
    if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519' && jwk.d && jwk.x)
      return { kty: jwk.kty, crv: jwk.crv, x: jwk.x, d: jwk.d };
  } catch {
    // Falls through: the value itself must not be shown.
  }
  throw new ConfigError(
    'MUSTER_SIGNING_KEY: its value (not shown) is not allowed; it is an Ed25519 private key as a JWK: {"kty":"OKP","crv":"Ed25519","x":…,"d":…}',
  );
}
