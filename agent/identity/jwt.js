// @ts-check
// Plain JavaScript because the beat thread signs too, and a worker loads alike under tsx, vitest and from dist only so.
import { createHash, createPrivateKey, randomUUID, sign } from 'node:crypto';

/** @typedef {import('node:crypto').JsonWebKey} JsonWebKey */

const LIFE_SECONDS = 50;

/** @param {unknown} value */
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
/** @param {string} text */
const sha256 = (text) => createHash('sha256').update(text).digest('base64url');
/** What of a key may be seen. @param {JsonWebKey} privateJwk */
const publicOf = ({ kty, crv, x }) => ({ kty, crv, x });

/**
 * A JWT signed with Ed25519.
 * @param {JsonWebKey} privateJwk
 * @param {Record<string, unknown>} header
 * @param {Record<string, unknown>} claims
 * @param {number} nowMs the coordinator's time, as far as it is known
 */
function signJwt(privateJwk, header, claims, nowMs) {
  const dated = { iat: Math.floor(nowMs / 1_000), jti: randomUUID(), ...claims };
  const input = `${encode({ alg: 'EdDSA', ...header })}.${encode(dated)}`;
  const key = createPrivateKey({ key: privateJwk, format: 'jwk' });
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`;
}

/** For the coordinator, and good for less than a minute. @param {number} nowMs */
const lasting = (nowMs) => ({ aud: 'muster', exp: Math.floor(nowMs / 1_000) + LIFE_SECONDS });

/**
 * What a registration sends: the public key, vouched for by the private one.
 * @param {JsonWebKey} privateJwk
 * @param {Record<string, unknown>} claims
 * @param {number} nowMs
 */
export const registrationJwt = (privateJwk, claims, nowMs) =>
  signJwt(
    privateJwk,
    { typ: 'agent-registration+jwt', jwk: publicOf(privateJwk) },
    { ...lasting(nowMs), protocol_version: 1, ...claims },
    nowMs,
  );

/**
 * What an access token is asked with.
 * @param {JsonWebKey} privateJwk
 * @param {string} agentId
 * @param {string} bootId
 * @param {number} nowMs
 */
export const assertionJwt = (privateJwk, agentId, bootId, nowMs) =>
  signJwt(
    privateJwk,
    { typ: 'agent-assertion+jwt' },
    { ...lasting(nowMs), iss: agentId, sub: agentId, boot_id: bootId },
    nowMs,
  );

/**
 * What a key rotation sends: the new key, vouched for by the old one and by itself.
 * @param {JsonWebKey} privateJwk
 * @param {JsonWebKey} nextJwk
 * @param {string} agentId
 * @param {string} bootId
 * @param {number} nowMs
 */
export function rotationJwts(privateJwk, nextJwk, agentId, bootId, nowMs) {
  const claims = { ...lasting(nowMs), iss: agentId, sub: agentId };
  const what = { ...claims, boot_id: bootId, new_jwk: publicOf(nextJwk) };
  const rotation = signJwt(privateJwk, { typ: 'agent-key-rotation+jwt' }, what, nowMs);
  const about = { ...claims, rotation_hash: sha256(rotation) };
  return { rotation, confirmation: signJwt(nextJwk, { typ: 'agent-key-confirmation+jwt' }, about, nowMs) };
}

/**
 * A proof that one request comes from who has the key (RFC 9449).
 * @param {JsonWebKey} privateJwk
 * @param {{ method: string, url: string, token?: string }} request
 * @param {number} nowMs
 */
export function proofJwt(privateJwk, { method, url, token }, nowMs) {
  const { origin, pathname } = new URL(url);
  const claims = { htm: method, htu: origin + pathname, ...(token ? { ath: sha256(token) } : {}) };
  return signJwt(privateJwk, { typ: 'dpop+jwt', jwk: publicOf(privateJwk) }, claims, nowMs);
}
