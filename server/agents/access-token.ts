import { ProblemError } from '@muster/shared/errors';
import type { SigningKeys } from '../access/signing-keys.ts';
import type { Authenticator, Credential, Principal } from '../platform/auth.ts';
import type { Clock } from '../platform/clock.ts';
import type { Config } from '../platform/config.ts';
import type { Proofs } from './dpop.ts';
import type { Revocations } from './revocations.ts';
import { ACCESS_TYP, type Holder } from './session.ts';

/** Verified tokens that are remembered; a signature costs two hundred times what a look-up does. */
const REMEMBERED = 200_000;

interface Verified extends Holder {
  principal: Principal;
  expiresAt: number;
}

/** Knows agents by their access tokens. */
export function agentAuthenticator(parts: {
  keys: SigningKeys;
  clock: Clock;
  revocations: Revocations;
  proofs: Proofs;
  config: Pick<Config, 'requireDpop'>;
}): Authenticator {
  const { keys, clock, revocations, proofs, config } = parts;
  const verified = new Map<string, Verified>();

  const verify = async (token: string): Promise<Verified | undefined> => {
    if (token.split('.').length !== 3) return undefined;
    const claims = await keys.verify(token, ACCESS_TYP);
    if (!claims?.sub || typeof claims.boot_id !== 'string') return undefined;
    const { sub: agent_id, boot_id } = claims;
    const it: Verified = {
      agent_id,
      boot_id,
      token_epoch: Number(claims.epoch ?? 0),
      jkt: (claims.cnf as { jkt?: string } | undefined)?.jkt,
      principal: { kind: 'agent', agent_id, boot_id },
      expiresAt: claims.exp! * 1_000,
    };
    if (verified.size >= REMEMBERED) verified.clear();
    verified.set(token, it);
    return it;
  };
  const admit = (it: Verified, { scheme, proof, method, path, token, again }: Credential) => {
    refuseOver(it, revocations);
    if (it.jkt === undefined) {
      if (scheme === 'DPoP')
        throw new ProblemError('invalid-proof', 'the access token is not bound to a key: send it as Bearer');
      if (config.requireDpop)
        throw new ProblemError('invalid-proof', 'tokens must be bound to a key here: buy one with a DPoP header');
      return it.principal;
    }
    if (scheme !== 'DPoP')
      throw new ProblemError('invalid-proof', 'the access token is bound to a key: send it as DPoP, with a proof');
    // A proof is good for once.
    if (again) return it.principal;
    return proofs.check(proof, { method, path, jkt: it.jkt, token }).then(() => it.principal);
  };
  // No promise where nothing is waited for: this is on the path of every request.
  return (credential) => {
    const known = verified.get(credential.token);
    if (known && known.expiresAt > clock.now().getTime()) return admit(known, credential);
    verified.delete(credential.token);
    return verify(credential.token).then((it) => it && admit(it, credential));
  };
}

function refuseOver({ agent_id, token_epoch }: Verified, revocations: Revocations): void {
  if (!revocations.isOver(agent_id, token_epoch)) return;
  if (revocations.isRevoked(agent_id)) throw new ProblemError('token-revoked', `agent ${agent_id} was revoked`);
  throw new ProblemError(
    'invalid-token',
    `the access token is of before agent ${agent_id} changed its key: buy a new one`,
  );
}
