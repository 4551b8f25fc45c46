import type { Endpoint } from '@muster/shared/contract/endpoint';

/**
 * How many requests that could as well come later are worked on at once: as many as make a batch that is worth it. A turn of the
 * event loop takes as long as all of them, and what is vital waits for some turns: with 512 a fleet did a third of what it did with these.
 */
const AT_ONCE = 128;
/**
 * How many refusals are given out a second; who is refused while there are more waits for his, and asks nothing meanwhile. To refuse
 * takes half as long as to take: told at once, a crowd that asks again at once left no time for anything else.
 */
const REFUSALS_A_SECOND = 500;

/** Keeps the coordinator free for what leases depend on: of everything else there is only so much at a time. */
export interface Admission {
  /** Undefined for what is vital or within the limit. What is not is too much; resolves when it is to be told so. */
  excess(endpoint: Endpoint): Promise<void> | undefined;
  /** Does the work and counts it while it lasts. Reading a body does not count: who sends it slowly would take a place. */
  count<T>(endpoint: Endpoint, work: () => Promise<T>): Promise<T>;
}

export function createAdmission({ atOnce = AT_ONCE, refusalsASecond = REFUSALS_A_SECOND } = {}): Admission {
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
      const doing = work();
      working += 1;
      doing.then(done, done);
      return doing;
    },
  };
}
