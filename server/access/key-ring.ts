import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Sql } from '../platform/database.ts';
import { listSigningKeys } from './store/signing-keys.ts';

/** How long after one look for new keys the next may come, in milliseconds: anybody may name keys there are none of. */
const LOOK_EVERY_MS = 1_000;

/** The public keys of the network, every coordinator's, by their thumbprint. */
export interface KeyRing {
  find(kid: string): Promise<KeyObject | undefined>;
  /** The same for a name nobody can make up: looks however lately that was done. */
  findListed(kid: string): Promise<KeyObject | undefined>;
}

export function createKeyRing(sql: Sql): KeyRing {
  const keys = new Map<string, KeyObject>();
  let lookedAt = Number.NEGATIVE_INFINITY;
  let looking: Promise<void> | undefined;
  const read = async () => {
    lookedAt = performance.now();
    for (const jwk of await listSigningKeys(sql)) {
      if (!keys.has(jwk.kid!)) keys.set(jwk.kid!, createPublicKey({ key: jwk as never, format: 'jwk' }));
    }
  };
  const look = () => {
    looking ??= read().finally(() => (looking = undefined));
    return looking;
  };
  return {
    async find(kid) {
      if (keys.has(kid)) return keys.get(kid);
      await (performance.now() - lookedAt >= LOOK_EVERY_MS ? look() : looking);
      return keys.get(kid);
    },
    async findListed(kid) {
      // A look that is under way may have begun before the key was there.
      if (!keys.has(kid)) await looking;
      if (!keys.has(kid)) await look();
      return keys.get(kid);
    },
  };
}
