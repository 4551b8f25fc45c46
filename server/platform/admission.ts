import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import pLimit from 'p-limit';

/**
 * How many requests that could as well come later are worked on at once: as many as make a batch that is worth it. A turn of the
 * event loop takes as long as all of them, and what is vital waits for some turns: with 512 a fleet did a third of what it did with these.
 */
const AT_ONCE = 128;
/** How many that read are: one less than the database has connections for them, so that what changes something finds one. */
const READS_AT_ONCE = 3;
/** How long one that reads waits for its turn, in milliseconds. */
const TURN_MS = 1_000;
/**
 * How many refusals are given out a second; who is refused while there are more waits for his, and asks nothing meanwhile. To refuse
 * takes half as long as to take: told at once, a crowd that asks again at once left no time for anything else.
 */
const REFUSALS_A_SECOND = 500;

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

export function createAdmission({
  atOnce = AT_ONCE,
  turnMs = TURN_MS,
  refusalsASecond = REFUSALS_A_SECOND,
} = {}): Admission {
  const inTurn = createTurns(turnMs);
  let working = 0;
  let refusedUntil = 0;
  const done = () => {
    working -= 1;
  };
  return {
    excess(endpoint) {
      if (endpoint.vital || working < atOnce) return undefined;
      const now = performance.now();
      refusedUntil = Math.max(refusedUntil, now) + 1_000 / refusalsASecond;
      return new Promise((resolve) => setTimeout(resolve, refusedUntil - now));
    },
    count(endpoint, work) {
      if (endpoint.vital) return work();
      const doing = reads(endpoint) ? inTurn(work) : work();
      working += 1;
      doing.then(done, done);
      return doing;
    },
  };
}

/** Whether it asks the database something and is answered when that is. */
const reads = ({ method, waits, lines }: Endpoint): boolean => method === 'GET' && !waits && !lines;

function createTurns(turnMs: number): <T>(work: () => Promise<T>) => Promise<T> {
  const turns = pLimit(READS_AT_ONCE);
  return (work) =>
    new Promise((resolve, reject) => {
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
