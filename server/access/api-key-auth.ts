import { createHash } from 'node:crypto';
import { BlockList, isIPv4 } from 'node:net';
import { ProblemError } from '@muster/shared/errors';
import { type Authenticator, type KeyPrincipal, sameSecret } from '../platform/auth.ts';
import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { idInKey } from './key-format.ts';
import { countUses, findKnownKeys, type KnownKey } from './store/api-keys.ts';

/** How long a key is believed without asking again, in milliseconds: where no word of a revocation comes, it ends by this. */
const BELIEF_MS = 1_500;
/** Keys that are remembered. */
const REMEMBERED = 10_000;

/** Knows API keys, and counts their uses. */
export interface ApiKeyAuth {
  authenticator: Authenticator;
  /** Writes the counts down. */
  loop: LoopSpec;
}

interface Belief {
  principal: KeyPrincipal;
  endsAt: Date | null;
  allows(address: string | undefined): boolean;
  until: number;
}

export const hashOf = (key: string): string => createHash('sha256').update(key).digest('base64url');

export function createApiKeyAuth({ db, clock, notifier }: Pick<Deps, 'db' | 'clock' | 'notifier'>): ApiKeyAuth {
  const beliefs = new Map<string, Belief>();
  let uses = new Map<string, number>();
  /** Moves with every change of a key: what was asked about before is not believed. */
  let age = 0;
  notifier.on('key', () => {
    age += 1;
    beliefs.clear();
  });
  const load = createBatcher(async (ids: string[]) => {
    const known = await findKnownKeys(db.hot, [...new Set(ids)]);
    return ids.map((id) => known.get(id));
  });
  const learn = async (key: string, id: string): Promise<Belief> => {
    const asked = age;
    // From when it was asked: what a slow database answers is as old as the question.
    const until = performance.now() + BELIEF_MS;
    const row = await load(`key_${id}`);
    const endsAt = row && holdsUntil(row, hashOf(key));
    if (row === undefined || endsAt === undefined) throw unknown();
    const belief = { ...beliefIn(row, endsAt), until };
    if (asked === age) {
      if (beliefs.size >= REMEMBERED) beliefs.clear();
      beliefs.set(key, belief);
    }
    return belief;
  };
  const use = ({ principal, endsAt, allows }: Belief, address: string | undefined) => {
    if (endsAt && endsAt <= clock.now()) throw unknown();
    if (!allows(address)) throw new ProblemError('invalid-api-key', `the API key is not for use from ${address}`);
    uses.set(principal.api_key_id, (uses.get(principal.api_key_id) ?? 0) + 1);
    return principal;
  };
  return {
    authenticator({ scheme, token, address }) {
      if (scheme !== 'Bearer') return undefined;
      const belief = beliefs.get(token);
      if (belief && belief.until > performance.now()) return use(belief, address);
      const id = idInKey(token);
      return id === undefined ? undefined : learn(token, id).then((it) => use(it, address));
    },
    loop: {
      name: 'access.count-uses',
      intervalMs: 1_000,
      async tick() {
        if (uses.size === 0) return 0;
        const counted = uses;
        uses = new Map();
        return countUses(db.loops, counted);
      },
    },
  };
}

/** When this key ends (null: never); undefined where it is not the key of the row. */
function holdsUntil(row: KnownKey, hash: string): Date | null | undefined {
  if (sameSecret(hash, row.secret_hash)) return row.expires_at;
  if (!row.former_hash || !sameSecret(hash, row.former_hash)) return undefined;
  const [former, whole] = [row.former_expires_at!, row.expires_at];
  return whole && whole < former ? whole : former;
}

const beliefIn = (row: KnownKey, endsAt: Date | null) => ({
  endsAt,
  allows: allowList(row.allowed_addresses),
  principal: {
    kind: 'key' as const,
    api_key_id: row.api_key_id,
    owner: row.owner,
    scopes: row.scopes,
    allowed_addresses: row.allowed_addresses,
    requests_per_minute: row.requests_per_minute,
    // Of the secret that was shown: one that is on its way out makes no key that outlives it.
    expires_at: endsAt,
  },
});

function allowList(ranges: readonly string[] | null): (address: string | undefined) => boolean {
  if (ranges === null) return () => true;
  const list = new BlockList();
  for (const range of ranges) {
    const [address, bits] = range.split('/');
    const family = isIPv4(address!) ? 'ipv4' : 'ipv6';
    if (bits === undefined) list.addAddress(address!, family);
    else list.addSubnet(address!, Number(bits), family);
  }
  // An IPv4 caller on a socket that speaks both shows as ::ffff:10.0.0.1.
  return (address) => {
    const plain = address?.replace(/^::ffff:(?=\d+\.)/, '');
    return plain !== undefined && list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6');
  };
}

/** One answer for every cause: whoever guesses learns nothing. */
const unknown = () => new ProblemError('invalid-api-key', 'the API key is not known');
