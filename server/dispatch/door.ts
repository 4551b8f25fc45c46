import { isIPv6 } from 'node:net';
import { type ProblemCode, ProblemError } from '@muster/shared/errors';
import pLimit from 'p-limit';
import { DEADLINE_MS } from '../platform/deadline.ts';
import { createRateLimit } from '../platform/rate-limit.ts';

/** Registrations, tokens and rotations that are worked on at once: enough to keep the database busy, too few to hold up a beat. */
const AT_ONCE = 8;
/** How many may wait. */
const MAX_WAITING = 10_000;
/** Registrations from one address that may fail in a minute. */
const FAILURES_A_MINUTE = 20;
/** What an agent is told that is known by its key: it guesses nothing, and must not shut others out that come from where it does. */
const KNOWN = new Set<ProblemCode>(['token-revoked', 'stale-lease']);

/** Where agents come in: one after the other, so that a fleet that comes back at once is let in as it came. */
export interface Door {
  /** Does the work when its turn has come. */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  /** The same for a stranger: who fails too often is not listened to for a while. */
  fromOutside<T>(address: string | undefined, work: () => Promise<T>): Promise<T>;
}

export function createDoor(): Door {
  const limit = pLimit(AT_ONCE);
  const failures = createRateLimit('failed registrations from this address');

  const inTurn: Door['inTurn'] = async (work) => {
    if (limit.pendingCount >= MAX_WAITING)
      throw new ProblemError('overloaded', `${limit.pendingCount} agents are waiting to be let in; try again`);
    const came = performance.now();
    return limit(() => {
      // Whoever asked was told to try again, and has.
      if (performance.now() - came > DEADLINE_MS)
        throw new ProblemError('overloaded', 'too many agents were waiting to be let in; try again');
      return work();
    });
  };
  return {
    inTurn,
    async fromOutside(address, work) {
      const network = networkOf(address ?? '');
      const refuseSpent = () => failures.refuseSpent(network, FAILURES_A_MINUTE);
      refuseSpent();
      return inTurn(async () => {
        // Others of the address may have failed since it came.
        refuseSpent();
        try {
          return await work();
        } catch (error) {
          if (error instanceof ProblemError && error.status < 500 && !KNOWN.has(error.code)) failures.count(network);
          throw error;
        }
      });
    },
  };
}

/** What counts as one address: an IPv4 address, and of IPv6 the /64 that one customer has. */
export function networkOf(address: string): string {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  if (mapped) return mapped;
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const [first, last] = [head, tail ?? ''].map((part) => part.split(':').filter(Boolean));
  const zeros = Array(Math.max(0, 8 - first!.length - last!.length)).fill('0');
  const groups = [...first!, ...zeros, ...last!].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}
