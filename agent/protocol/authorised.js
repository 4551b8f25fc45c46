// @ts-check
// Plain JavaScript because the beat thread uses it too.
import { setTimeout as sleep } from 'node:timers/promises';
import { proofJwt } from '../identity/jwt.js';

/** @typedef {import('../beat/messages.ts').Credential} Credential */

/** How often a request is sent whose token or proof is refused. */
export const TRIES = 4;
const PAUSE_MS = 100;

/** Waits before another try: longer each time, and not as long as others. @param {number} tries @param {AbortSignal} [signal] */
export const pause = (tries, signal) => sleep(PAUSE_MS * 2 ** tries * (0.5 + Math.random() / 2), undefined, { signal });

/**
 * The headers that say who calls: the token and, where it is bound to the key, a proof of this very request.
 * @param {Credential} credential @param {string} method @param {string} url @param {number} nowMs
 * @returns {Record<string, string>}
 */
export function authorisation({ access_token, token_type, private_jwk }, method, url, nowMs) {
  if (token_type !== 'DPoP') return { authorization: `Bearer ${access_token}` };
  const dpop = proofJwt(private_jwk, { method, url, token: access_token }, nowMs);
  return { authorization: `DPoP ${access_token}`, dpop };
}

/**
 * Sends a request until it is not the token or the proof that is refused. A token may have been ended by a change of the key
 * while the request was on its way: the newest one counts. A proof may have been dated by a wrong clock, or seen
 * because something in between sent it twice: a new one will do, or else a new token.
 * @template T
 * @param {{ token(): Promise<Credential>, renew(refused: string): Promise<Credential> }} tokens
 * @param {(credential: Credential) => Promise<T>} send
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function sendAuthorised(tokens, send, signal) {
  let credential = await tokens.token();
  for (let tries = 1; ; tries += 1) {
    try {
      return await send(credential);
    } catch (error) {
      const { status, code } = /** @type {{ status?: number, code?: string }} */ (error);
      if (status !== 401 || code === 'token-revoked' || tries === TRIES) throw error;
      const ofProof = code === 'invalid-proof' && credential.token_type === 'DPoP';
      if (ofProof || tries > 1) await pause(tries, signal);
      const again = ofProof && tries < TRIES - 1;
      credential = again ? await tokens.token() : await tokens.renew(credential.access_token);
    }
  }
}
