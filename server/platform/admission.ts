import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import pLimit, { type LimitFunction } from 'p-limit';

/**
 * How many requests that could as well come later are worked on at once. They come and go in bunches, so twice as many as make a
 * batch that is worth it: with 128 a crowd was refused while places were free. With 512 a turn of the event loop, of which what is
 * vital waits for some, took so long that a fleet did a third of what it could.
 */
const AT_ONCE = 256;
/** How many that read are: one less than the database has connections for them, so that what changes something finds one. */
const READS_AT_ONCE = 3;
/** How long one that reads waits for its turn, in milliseconds. */
const TURN_MS = 500;
/**
 * How many refusals are given out at once, and then a second; who is refused while there are more waits for his, and asks nothing
 * meanwhile. To read a request and answer it takes most of what a submit takes, as the rest is shared by a batch: refused at once,
 * a crowd that asks again at once left no time for anything else.
 */
const REFUSALS = { atOnce: 500, aSecond: 200 };

/** Keeps the coordinator free for what leases depend on: of everything else there is only so much at a time. */
export interface Admission {
  /** Undefined for what is vital or within the limit. What is not is too much; resolves when it is to be told so. */
  excess(endpoint: Endpoint): Promise<void> | undefined;
  /**
   * Does the work and counts it while it lasts. Reading a body does not count: who sends it slowly would take a place. What
   * reads waits for its turn, and is refused with `overloaded` where that does not come: those before it wait for the database.
   */
  count<T>(endpoint: Endpoint, work: () => Promise<T>): Promise<T>;
}

export function createAdmission({ atOnce = AT_ONCE, turnMs = TURN_MS, refusals = REFUSALS } = {}): Admission {
  const turns = pLimit(READS_AT_ONCE);
  const everyMs = 1_000 / refusals.aSecond;
  let working = 0;
  let refusedUntil = 0;
  const done = () => {
    working -= 1;
  };
  const counted = <T>(work: () => Promise<T>): Promise<T> => {
    const doing = work();
    working += 1;
    doing.then(done, done);
    return doing;
  };
  /** Who waits for a turn takes no place of those that change something, and is not to wait behind more than there are places. */
  const isFull = (endpoint: Endpoint) => working >= atOnce || (reads(endpoint) && turns.pendingCount >= atOnce);
  return {
    excess(endpoint) {
      if (endpoint.vital || !isFull(endpoint)) return undefined;
      const now = performance.now();
      refusedUntil = Math.max(refusedUntil, now - refusals.atOnce * everyMs) + everyMs;
      return new Promise((resolve) => setTimeout(resolve, refusedUntil - now));
    },
    count(endpoint, work) {
      if (endpoint.vital) return work();
      return reads(endpoint) ? inTurn(turns, turnMs, () => counted(work)) : counted(work);
    },
  };
}

/** Whether it asks the database something and is answered when that is. */
const reads = ({ method, waits, lines }: Endpoint): boolean => method === 'GET' && !waits && !lines;

/** Does the work when it is its turn, unless that takes too long to come. */
function inTurn<T>(turns: LimitFunction, turnMs: number, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      reject(new ProblemError('overloaded', `others have been reading for ${turnMs / 1_000} s; try again`));
    }, turnMs);
    void turns(async () => {
      clearTimeout(late);
      if (isLate) return;
      try {
        resolve(await work());
      } catch (error) {
        reject(error);
      }
    });
  });
}
