// @ts-check
// Plain JavaScript because the beat thread signs too, and a worker loads alike under tsx, vitest and from dist only so.
import { createPrivateKey, randomUUID, sign } from 'node:crypto';

/** @typedef {import('node:crypto').JsonWebKey} JsonWebKey */

const LIFE_SECONDS = 50;

/** @param {unknown} value */
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/**
 * A JWT signed with Ed25519, good for less than a minute.
 * @param {JsonWebKey} privateJwk
 * @param {Record<string, unknown>} header
 * @param {Record<string, unknown>} claims
 * @param {number} nowMs the coordinator's time, as far as it is known
 */
function signJwt(privateJwk, header, claims, nowMs) {
  const iat = Math.floor(nowMs / 1_000);
  const standard = { aud: 'muster', iat, exp: iat + LIFE_SECONDS, jti: randomUUID() };
  const input = `${encode({ alg: 'EdDSA', ...header })}.${encode({ ...standard, ...claims })}`;
  const key = createPrivateKey({ key: privateJwk, format: 'jwk' });
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`;
}

/**
 * What a registration sends: the public key, vouched for by the private one.
 * @param {JsonWebKey} privateJwk
 * @param {JsonWebKey} publicJwk
 * @param {Record<string, unknown>} claims
 * @param {number} nowMs
 */
export const registrationJwt = (privateJwk, publicJwk, claims, nowMs) =>
  signJwt(privateJwk, { typ: 'agent-registration+jwt', jwk: publicJwk }, { protocol_version: 1, ...claims }, nowMs);

/**
 * What an access token is asked with.
 * @param {JsonWebKey} privateJwk
 * @param {string} agentId
 * @param {string} bootId
 * @param {number} nowMs
 */
export const assertionJwt = (privateJwk, agentId, bootId, nowMs) =>
  signJwt(privateJwk, { typ: 'agent-assertion+jwt' }, { iss: agentId, sub: agentId, boot_id: bootId }, nowMs);
