import { newId } from '@muster/shared/ids';
import type { SigningKeys } from '../access/signing-keys.ts';
import type { Authenticator, Principal } from '../platform/auth.ts';
import type { Clock } from '../platform/clock.ts';

/** How long an access token holds, in milliseconds. */
const ACCESS_TOKEN_MS = 600_000;
/** RFC 9068's type of a JWT access token. */
const ACCESS_TYP = 'at+jwt';
/** Verified tokens that are remembered; a signature costs two hundred times what a look-up does. */
const REMEMBERED = 200_000;

export interface Session {
  agent_id: string;
  access_token: string;
  access_token_expires_at: string;
}

/** Makes an access token for one life of an agent. */
export async function grantSession(keys: SigningKeys, clock: Clock, agentId: string, bootId: string): Promise<Session> {
  const expires = new Date(Math.floor((clock.now().getTime() + ACCESS_TOKEN_MS) / 1_000) * 1_000);
  const access_token = await keys.sign(ACCESS_TYP, { jti: newId('req'), sub: agentId, boot_id: bootId }, expires);
  return { agent_id: agentId, access_token, access_token_expires_at: expires.toISOString() };
}

/** Knows agents by their access tokens. */
export function agentAuthenticator(keys: SigningKeys, clock: Clock): Authenticator {
  const verified = new Map<string, { principal: Principal; expiresAt: number }>();
  return async (credential) => {
    const known = verified.get(credential);
    if (known && known.expiresAt > clock.now().getTime()) return known.principal;
    verified.delete(credential);
    if (credential.split('.').length !== 3) return undefined;
    const claims = await keys.verify(credential, ACCESS_TYP);
    if (!claims?.sub || typeof claims.boot_id !== 'string') return undefined;
    const principal: Principal = { kind: 'agent', agent_id: claims.sub, boot_id: claims.boot_id };
    if (verified.size >= REMEMBERED) verified.clear();
    verified.set(credential, { principal, expiresAt: claims.exp! * 1_000 });
    return principal;
  };
}
