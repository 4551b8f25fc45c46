import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';

/** How many requests that could as well come later are worked on at once: about a quarter of a second of submits. */
const AT_ONCE = 512;

/** Keeps the coordinator free for what leases depend on: of everything else there is only so much at a time. */
export interface Admission {
  /** Refuses with `overloaded`, before a body is read, what is neither vital nor within the limit. */
  refuseExcess(endpoint: Endpoint): void;
  /** Does the work and counts it while it lasts. Reading a body does not count: who sends it slowly would take a place. */
  count<T>(endpoint: Endpoint, work: () => Promise<T>): Promise<T>;
}

export function createAdmission(atOnce = AT_ONCE): Admission {
  let working = 0;
  const done = () => {
    working -= 1;
  };
  return {
    refuseExcess(endpoint) {
      if (!endpoint.vital && working >= atOnce)
        throw new ProblemError('overloaded', `${working} requests are being worked on; try again`);
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
