import { newId } from '@muster/shared/ids';
import type { SigningKeys } from '../access/signing-keys.ts';
import type { Clock } from '../platform/clock.ts';

/** How long an access token holds. */
export const ACCESS_TOKEN_SECONDS = 600;
/** RFC 9068's type of a JWT access token. */
export const ACCESS_TYP = 'at+jwt';

export interface Session {
  agent_id: string;
  access_token: string;
  access_token_expires_at: string;
  token_type: 'Bearer' | 'DPoP';
}

/** Whom an access token is for. */
export interface Holder {
  agent_id: string;
  boot_id: string;
  token_epoch: number;
  /** The key every use must be proven by; without one whoever has the token may use it. */
  jkt: string | undefined;
}

/** Makes an access token for one life of an agent. */
export async function grantSession(keys: SigningKeys, clock: Clock, holder: Holder): Promise<Session> {
  const { agent_id, boot_id, token_epoch, jkt } = holder;
  const expires = new Date((Math.floor(clock.now().getTime() / 1_000) + ACCESS_TOKEN_SECONDS) * 1_000);
  const bound = jkt === undefined ? {} : { cnf: { jkt } };
  const claims = { jti: newId('req'), sub: agent_id, boot_id, epoch: token_epoch, ...bound };
  return {
    agent_id,
    access_token: await keys.sign(ACCESS_TYP, claims, expires),
    access_token_expires_at: expires.toISOString(),
    token_type: jkt === undefined ? 'Bearer' : 'DPoP',
  };
}
