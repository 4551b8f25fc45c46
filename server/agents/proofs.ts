import {
  type AssertionClaims,
  assertionClaims,
  type RegistrationClaims,
  registrationClaims,
} from '@muster/shared/contract/agents';
import { ProblemError } from '@muster/shared/errors';
import { calculateJwkThumbprint, decodeProtectedHeader, errors, importJWK, type JWK, jwtVerify } from 'jose';
import type { z } from 'zod';
import { invalid } from '../platform/errors.ts';

/** Proofs live for seconds: an older one could have been overheard, and its `jti` must be remembered only so long. */
export const PROOF_MAX_AGE_SECONDS = 60;
/** How far an agent's clock may be off, in seconds. */
const CLOCK_SKEW_SECONDS = 10;

const MEMBERS = ['kty', 'crv', 'x'];

/** A registration that its own key signed: the claims, the public key and its thumbprint (RFC 7638). */
export interface Registration {
  claims: RegistrationClaims;
  jwk: JWK;
  jkt: string;
}

/** Verifies a registration JWT by the key it carries. */
export async function verifyRegistration(jwt: string, now: Date): Promise<Registration> {
  const { jwk } = header(jwt);
  if (
    jwk?.kty !== 'OKP' ||
    jwk.crv !== 'Ed25519' ||
    typeof jwk.x !== 'string' ||
    Buffer.from(jwk.x, 'base64url').length !== 32 ||
    Buffer.from(jwk.x, 'base64url').toString('base64url') !== jwk.x
  ) {
    throw new ProblemError('invalid-token', 'the registration must carry an Ed25519 public key as jwk in its header');
  }
  const extra = Object.keys(jwk).find((name) => !MEMBERS.includes(name));
  if (extra)
    throw new ProblemError(
      'invalid-token',
      `the jwk in the registration's header must have kty, crv and x only, not ${JSON.stringify(extra.slice(0, 40))}`,
    );
  const claims = await verify(
    jwt,
    { kty: jwk.kty, crv: jwk.crv, x: jwk.x },
    'agent-registration+jwt',
    registrationClaims,
    now,
  );
  return {
    claims,
    jwk: { kty: jwk.kty, crv: jwk.crv, x: jwk.x },
    jkt: await calculateJwkThumbprint({ kty: jwk.kty, crv: jwk.crv, x: jwk.x }),
  };
}

/** Verifies an assertion by the key the agent registered. */
export async function verifyAssertion(jwt: string, jwk: JWK, agentId: string, now: Date): Promise<AssertionClaims> {
  const claims = await verify(jwt, jwk, 'agent-assertion+jwt', assertionClaims, now);
  if (claims.sub !== agentId || claims.iss !== agentId)
    throw new ProblemError('invalid-token', `the assertion speaks for ${claims.sub}, not for ${agentId}`);
  return claims;
}

function header(jwt: string) {
  try {
    return decodeProtectedHeader(jwt) as { jwk?: JWK };
  } catch {
    throw new ProblemError('invalid-token', 'it is not a JWT');
  }
}

async function verify<T extends z.ZodType>(
  jwt: string,
  jwk: JWK,
  typ: string,
  schema: T,
  now: Date,
): Promise<z.output<T>> {
  const payload = await jwtVerify(jwt, await importJWK(jwk, 'EdDSA'), {
    algorithms: ['EdDSA'],
    typ,
    audience: 'muster',
    currentDate: now,
    maxTokenAge: PROOF_MAX_AGE_SECONDS,
    clockTolerance: CLOCK_SKEW_SECONDS,
    requiredClaims: ['iat', 'exp', 'jti'],
  }).then(
    (verified) => verified.payload,
    (error: unknown) => {
      if (error instanceof errors.JOSEError)
        throw new ProblemError('invalid-token', `the ${typ} was refused: ${error.message.slice(0, 120)}`, {
          cause: error,
        });
      throw error;
    },
  );
  const parsed = schema.safeParse(payload);
  if (!parsed.success) throw invalid('#/claims', parsed.error.issues);
  if (Number(payload.exp) > Number(payload.iat) + PROOF_MAX_AGE_SECONDS) {
    throw new ProblemError('invalid-token', `the ${typ} may live ${PROOF_MAX_AGE_SECONDS} s at most`);
  }
  return parsed.data;
}
