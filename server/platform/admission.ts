import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';

/**
 * How many requests that could as well come later are worked on at once. They come and go in bunches, so twice as many as make a
 * batch that is worth it: with 128 a crowd was refused while places were free. With 512 a turn of the event loop, of which what is
 * vital waits for some, took so long that a fleet did a third of what it could.
 */
const AT_ONCE = 256;
/** How many that read are: one less than the database has connections for them, so that what changes something finds one. */
const READS_AT_ONCE = 3;
/** How long a request waits for a place before it may be refused, in milliseconds. */
const WAIT_MS = 500;
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
  /**
   * A place for a request. What changes something waits for its turn here, before it is known who asks; undefined for whoever was too
   * much, or hung up meanwhile. What reads has its turn later: to learn who asks takes none of the few connections there are for it.
   */
  place(endpoint: Endpoint, caller: Caller): Place | Promise<Place | undefined>;
}

/** Who asks, until they hang up. */
export interface Caller {
  readonly destroyed: boolean;
}

/** Where a request is worked on, from its turn until it is left. */
export interface Place {
  /** Undefined where it is taken; else a promise of its turn, with those who wait, refused with `overloaded` where it was too much. */
  turn(): Promise<void> | undefined;
  /** Gives it to others, for good or until the next turn: who sends a body slowly is not to keep it from them. */
  leave(): void;
}

export function createAdmission({
  atOnce = AT_ONCE,
  readsAtOnce = READS_AT_ONCE,
  waitMs = WAIT_MS,
  refusals = REFUSALS,
} = {}): Admission {
  const [changing, reading] = [atOnce, readsAtOnce].map((places) => new Line(places, waitMs, refusals)) as [Line, Line];
  return {
    place(endpoint, caller) {
      if (endpoint.vital) return ALWAYS_FREE;
      if (reads(endpoint)) return new LinePlace(reading, caller);
      const place = new LinePlace(changing, caller);
      const turn = place.turn();
      return turn
        ? turn.then(
            () => place,
            () => undefined,
          )
        : place;
    },
  };
}

/** Whether it asks the database something and is answered when that is. */
const reads = ({ method, waits, lines }: Endpoint): boolean => method === 'GET' && !waits && !lines;

const ALWAYS_FREE: Place = { turn: () => undefined, leave() {} };

class LinePlace implements Place {
  #isTaken = false;
  readonly #line: Line;
  readonly #caller: Caller;

  constructor(line: Line, caller: Caller) {
    this.#line = line;
    this.#caller = caller;
  }

  turn(): Promise<void> | undefined {
    if (this.#isTaken) return undefined;
    const taken = this.#line.take(this.#caller);
    if (taken !== true) return this.#wait(taken);
    this.#isTaken = true;
    return undefined;
  }

  leave(): void {
    if (this.#isTaken) this.#line.free();
    this.#isTaken = false;
  }

  async #wait(taken: Promise<boolean>): Promise<void> {
    this.#isTaken = await taken;
    if (!this.#isTaken) throw new ProblemError('overloaded', 'as much is being worked on as may be; try again');
  }
}

interface Waiting {
  caller: Caller;
  since: number;
  give(isTheirs: boolean): void;
}

/** So many places, and who waits for one, the first first: while anybody does none is free. */
class Line {
  readonly #places: number;
  readonly #waitMs: number;
  readonly #refusals: typeof REFUSALS;
  readonly #waiting = new Set<Waiting>();
  #taken = 0;
  #left: number;
  #lookedAt = performance.now();
  #isLooking = false;

  constructor(places: number, waitMs: number, refusals: typeof REFUSALS) {
    this.#places = places;
    this.#waitMs = waitMs;
    this.#refusals = refusals;
    this.#left = refusals.atOnce;
  }

  /** Takes a place at once, or when it is free; false for whoever is refused, or hung up. */
  take(caller: Caller): true | Promise<boolean> {
    if (this.#taken < this.#places) {
      this.#taken += 1;
      return true;
    }
    this.#lookLater();
    return new Promise((give) => void this.#waiting.add({ caller, since: performance.now(), give }));
  }

  free(): void {
    this.#taken -= 1;
    for (const waiting of this.#waiting) {
      if (this.#taken >= this.#places) return;
      this.#waiting.delete(waiting);
      if (!waiting.caller.destroyed) this.#taken += 1;
      waiting.give(!waiting.caller.destroyed);
    }
  }

  #lookLater(): void {
    if (!this.#isLooking) setTimeout(() => this.#look(), LOOK_MS).unref();
    this.#isLooking = true;
  }

  /** Refuses who has waited for too long, as many as may be; who hung up goes without. */
  #look(): void {
    const now = performance.now();
    const { atOnce, aSecond } = this.#refusals;
    this.#left = Math.min(atOnce, this.#left + (aSecond * (now - this.#lookedAt)) / 1_000);
    this.#lookedAt = now;
    this.#isLooking = false;
    for (const waiting of this.#waiting) {
      if (now - waiting.since < this.#waitMs) break;
      if (!waiting.caller.destroyed) {
        if (this.#left < 1) continue;
        this.#left -= 1;
      }
      this.#waiting.delete(waiting);
      waiting.give(false);
    }
    if (this.#waiting.size > 0) this.#lookLater();
  }
}
