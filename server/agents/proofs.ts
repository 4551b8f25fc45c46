import { createHash } from 'node:crypto';
import {
  type AssertionClaims,
  assertionClaims,
  type ConfirmationClaims,
  confirmationClaims,
  type RegistrationClaims,
  type RotationClaims,
  registrationClaims,
  rotationClaims,
} from '@muster/shared/contract/agents';
import { ProblemError } from '@muster/shared/errors';
import type { JWK } from 'jose';
import { type PublicKey, publicKeyOf } from './public-key.ts';
import { headerOf, verifyClaims } from './signed-claims.ts';

const REGISTRATION = { typ: 'agent-registration+jwt', schema: registrationClaims, header: ['jwk'] };
const ASSERTION = { typ: 'agent-assertion+jwt', schema: assertionClaims };
const ROTATION = { typ: 'agent-key-rotation+jwt', schema: rotationClaims };
const CONFIRMATION = { typ: 'agent-key-confirmation+jwt', schema: confirmationClaims };

/** A registration that its own key signed: the claims, the public key and its thumbprint. */
export interface Registration extends PublicKey {
  claims: RegistrationClaims;
}

/** Verifies a registration JWT by the key it carries. */
export async function verifyRegistration(jwt: string, now: Date): Promise<Registration> {
  const key = await publicKeyOf(headerOf(jwt, REGISTRATION).jwk, "the jwk in the registration's header");
  return { claims: await verifyClaims(jwt, key.jwk, REGISTRATION, now), ...key };
}

/** Verifies an assertion by the key the agent registered. */
export async function verifyAssertion(jwt: string, jwk: JWK, agentId: string, now: Date): Promise<AssertionClaims> {
  const claims = await verifyClaims(jwt, jwk, ASSERTION, now);
  refuseOther(claims, agentId, 'assertion');
  return claims;
}

/** A change of an agent's key that the old one and the new one signed. */
export interface Rotation {
  rotation: RotationClaims;
  confirmation: ConfirmationClaims;
  key: PublicKey;
}

/** Verifies a rotation by the key the agent has, and its confirmation by the one it names. */
export async function verifyRotation(
  jwts: { rotation: string; confirmation: string },
  jwk: JWK,
  agentId: string,
  now: Date,
): Promise<Rotation> {
  const rotation = await verifyClaims(jwts.rotation, jwk, ROTATION, now);
  refuseOther(rotation, agentId, 'rotation');
  const key = await publicKeyOf(rotation.new_jwk, "the rotation's new_jwk");
  const confirmation = await verifyClaims(jwts.confirmation, key.jwk, CONFIRMATION, now);
  refuseOther(confirmation, agentId, 'confirmation');
  if (confirmation.rotation_hash !== createHash('sha256').update(jwts.rotation).digest('base64url'))
    throw new ProblemError('invalid-token', 'the confirmation is of another rotation: its rotation_hash differs');
  return { rotation, confirmation, key };
}

function refuseOther({ iss, sub }: { iss: string; sub: string }, agentId: string, what: string): void {
  if (sub !== agentId || iss !== agentId)
    throw new ProblemError('invalid-token', `the ${what} speaks for ${sub}, not for ${agentId}`);
}
