import { createHash } from 'node:crypto';
import { ProblemError } from '@muster/shared/errors';
import { z } from 'zod';
import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import { publicKeyOf } from './public-key.ts';
import { isUrlOf } from './request-url.ts';
import { headerOf, PROOF_MAX_AGE_SECONDS, verifyClaims } from './signed-claims.ts';
import { insertJtis } from './store/used-jtis.ts';

/** What a proof of possession claims (RFC 9449, section 4.2). */
const claims = z.object({
  htm: z.string(),
  htu: z.string().max(2_048),
  iat: z.int(),
  jti: z.string().regex(/^[\x21-\x7e]{8,128}$/, { error: 'must be 8 to 128 printable characters' }),
  ath: z.string().optional(),
});
const PROOF = { typ: 'dpop+jwt', schema: claims, header: ['jwk'], code: 'invalid-proof' } as const;

/** The request a proof must be of. */
export interface Proven {
  method: string;
  path: string;
  /** The thumbprint of the key that must have made it. */
  jkt: string;
  /** The access token that is used, if one is. */
  token?: string;
}

/** Proofs of possession: that who calls has the agent's key now (RFC 9449). */
export interface Proofs {
  /** Refuses a DPoP header that does not prove this request by this key, or was seen before: by any coordinator, before any restart. */
  check(proof: string | undefined, of: Proven): Promise<void>;
}

export function createProofs({ db, clock, config }: Pick<Deps, 'db' | 'clock' | 'config'>, url: () => string): Proofs {
  const use = createBatcher((items: Parameters<typeof insertJtis>[1]) => insertJtis(db.hot, items));
  return {
    async check(proof, { method, path, jkt, token }) {
      if (proof === undefined) throw refused('send a DPoP header: the token is bound to a key');
      const key = await publicKeyOf(headerOf(proof, PROOF).jwk, 'its jwk').catch((error) => {
        throw error instanceof ProblemError ? refused(error.message) : error;
      });
      if (key.jkt !== jkt) throw refused("the proof was made by another key than the agent's");
      const { htm, htu, iat, jti, ath } = await verifyClaims(proof, key.jwk, PROOF, clock.now());
      if (htm !== method) throw refused(`the proof is of a ${htm.slice(0, 20)}, not of a ${method}`);
      if (!isUrlOf(htu, path, config.publicUrl ?? url(), config.publicUrl === undefined))
        throw refused(`the proof is of another URL, not of ${path} where this network is found`);
      if (token !== undefined && ath !== createHash('sha256').update(token).digest('base64url'))
        throw refused('the proof is not of this access token: its ath differs');
      if (!(await use({ jkt, jti, exp: iat + PROOF_MAX_AGE_SECONDS }))) throw refused(`the jti ${jti} was used before`);
    },
  };
}

const refused = (detail: string) => new ProblemError('invalid-proof', detail);
