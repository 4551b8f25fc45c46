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
/** How long a request waits for a place, and one that reads then for its turn, in milliseconds. */
const TURN_MS = 500;
/**
 * How many refusals are given out at once, and then a second; who is to be refused while there are more goes on waiting, and asks
 * nothing meanwhile. To read a request and answer it takes most of what a submit takes, as the rest is shared by a batch: refused
 * at once, a crowd that asks again at once left no time for anything else.
 */
const REFUSALS = { atOnce: 500, aSecond: 200 };
/** How often it is looked who has waited for too long, in milliseconds. */
const LOOK_MS = 50;

/** Keeps the coordinator free for what leases depend on: of everything else there is only so much at a time. */
export interface Admission {
  /** Undefined for what is vital or within the limit. What is not waits for a place, the first first; resolves to whether it has one, or was too much. */
  place(endpoint: Endpoint): Promise<boolean> | undefined;
  /**
   * Does the work and counts it while it lasts. Reading a body does not count: who sends it slowly would take a place. What
   * reads waits for its turn, and is refused with `overloaded` where that does not come: those before it wait for the database.
   */
  count<T>(endpoint: Endpoint, work: () => Promise<T>): Promise<T>;
}

/** Those who wait for a place, the first first, and since when. */
interface Line {
  reading: boolean;
  waiting: Map<(taken: boolean) => void, number>;
}

export function createAdmission({ atOnce = AT_ONCE, turnMs = TURN_MS, refusals = REFUSALS } = {}): Admission {
  const turns = pLimit(READS_AT_ONCE);
  let working = 0;
  /** What changes something, and what reads. */
  const lines: Line[] = [false, true].map((reading) => ({ reading, waiting: new Map() }));
  /** Who waits for a turn takes no place of those that change something, and is not to wait behind more than there are places. */
  const roomFor = (reading: boolean) => atOnce - Math.max(working, reading ? turns.pendingCount : 0);
  let left = refusals.atOnce;
  let lookedAt = performance.now();
  let looking = false;
  const admit = ({ reading, waiting }: Line, most: number) => {
    let room = Math.min(most, roomFor(reading));
    for (const [take] of waiting) {
      if (room <= 0) return;
      room -= 1;
      waiting.delete(take);
      take(true);
    }
  };
  const refuseLate = ({ waiting }: Line, now: number) => {
    for (const [take, since] of waiting) {
      if (left < 1 || now - since < turnMs) return;
      left -= 1;
      waiting.delete(take);
      take(false);
    }
  };
  const look = () => {
    const now = performance.now();
    left = Math.min(refusals.atOnce, left + (refusals.aSecond * (now - lookedAt)) / 1_000);
    lookedAt = now;
    for (const line of lines) {
      // One that was given a place may have done nothing with it.
      admit(line, atOnce);
      refuseLate(line, now);
    }
    looking = lines.some(({ waiting }) => waiting.size > 0);
    if (looking) setTimeout(look, LOOK_MS);
  };
  const done = () => {
    working -= 1;
    if (looking) for (const line of lines) admit(line, 1);
  };
  const counted = <T>(work: () => Promise<T>): Promise<T> => {
    const doing = work();
    working += 1;
    doing.then(done, done);
    return doing;
  };
  return {
    place(endpoint) {
      if (endpoint.vital) return undefined;
      const reading = reads(endpoint);
      // Also where others wait: what is free at this moment they did not take.
      if (roomFor(reading) > 0) return undefined;
      if (!looking) setTimeout(look, LOOK_MS);
      looking = true;
      const { waiting } = lines.find((line) => line.reading === reading)!;
      return new Promise((resolve) => void waiting.set(resolve, performance.now()));
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
