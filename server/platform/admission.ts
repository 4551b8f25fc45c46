import type { Endpoint } from '@muster/shared/contract/endpoint';

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
/** How often it is looked who has waited for too long, and how long who does nothing with a place keeps it from others, in milliseconds. */
const LOOK_MS = 50;

/** Keeps the coordinator free for what leases depend on: of everything else there is only so much at a time. */
export interface Admission {
  /** A place, where need be when one is free, the first first; undefined for whoever was too much, or hung up meanwhile. */
  place(endpoint: Endpoint, caller: Caller): Place | Promise<Place | undefined>;
}

/** Who asks, until they hang up. */
export interface Caller {
  readonly destroyed: boolean;
}

/** Where a request is worked on until it is answered. */
export interface Place {
  /** Does work. The place may be somebody else's meanwhile, as who sends a body slowly is not to keep it from others: then when one is free, before all who wait. */
  work<T>(work: () => Promise<T>): Promise<T>;
  /** It is answered: the place is free as soon as the work has ended, which may take longer. */
  leave(): void;
}

export function createAdmission({
  atOnce = AT_ONCE,
  readsAtOnce = READS_AT_ONCE,
  waitMs = WAIT_MS,
  refusals = REFUSALS,
} = {}): Admission {
  let left = refusals.atOnce;
  let lookedAt = performance.now();
  let looking = false;
  const lookLater = () => {
    if (!looking) setTimeout(look, LOOK_MS).unref();
    looking = true;
  };
  const [changing, reading] = [new Line(atOnce, lookLater), new Line(readsAtOnce, lookLater)];
  const look = () => {
    const now = performance.now();
    left = Math.min(refusals.atOnce, left + (refusals.aSecond * (now - lookedAt)) / 1_000);
    lookedAt = now;
    looking = false;
    for (const line of [changing, reading]) {
      line.takeBack(now - LOOK_MS);
      left -= line.refuse(now - waitMs, Math.floor(left));
      if (line.isWaitedIn) lookLater();
    }
  };
  return {
    place(endpoint, caller) {
      if (endpoint.vital) return ALWAYS_FREE;
      return (reads(endpoint) ? reading : changing).place(caller);
    },
  };
}

/** Whether it asks the database something and is answered when that is. */
const reads = ({ method, waits, lines }: Endpoint): boolean => method === 'GET' && !waits && !lines;

const ALWAYS_FREE: Place = { work: (work) => work(), leave() {} };

interface Waiting {
  caller: Caller;
  since: number;
  give(place: Place | undefined): void;
}

/** So many places, and who waits for one: while anybody does none is free. Says when somebody begins to. */
class Line {
  readonly #places: number;
  readonly #held: Held[] = [];
  readonly #waiting = new Set<Waiting>();
  /** Whose place was taken back, and what they do when they have one again. */
  readonly #returning = new Map<Held, () => void>();

  readonly #waitedIn: () => void;

  constructor(places: number, waitedIn: () => void) {
    this.#places = places;
    this.#waitedIn = waitedIn;
  }

  get isWaitedIn(): boolean {
    return this.#waiting.size + this.#returning.size > 0;
  }

  place(caller: Caller): Place | Promise<Place | undefined> {
    if (this.#held.length < this.#places) return new Held(this);
    this.#waitedIn();
    return new Promise((give) => void this.#waiting.add({ caller, since: performance.now(), give }));
  }

  hold(place: Held): void {
    place.at = this.#held.push(place) - 1;
  }

  /** Resolves when it is held again. */
  returned(place: Held): Promise<void> {
    this.#waitedIn();
    return new Promise((resolve) => {
      this.#returning.set(place, resolve);
      this.#give();
    });
  }

  free(place: Held): void {
    this.#returning.delete(place);
    if (place.at < 0) return;
    // The last takes its place in the list: one that is made anew for every request takes time.
    const last = this.#held.pop()!;
    if (last !== place) {
      this.#held[place.at] = last;
      last.at = place.at;
    }
    place.at = -1;
    this.#give();
  }

  /** Frees the places at which nothing was done since then. */
  takeBack(then: number): void {
    for (const place of this.#held.filter(({ idleSince }) => idleSince < then)) this.free(place);
  }

  /** Refuses so many of those who have waited since then; answers how many it did. */
  refuse(then: number, most: number): number {
    let refused = 0;
    for (const waiting of this.#waiting) {
      if (waiting.since > then) break;
      if (!waiting.caller.destroyed) {
        if (refused === most) break;
        refused += 1;
      }
      this.#waiting.delete(waiting);
      waiting.give(undefined);
    }
    return refused;
  }

  #give(): void {
    for (const [place, resolve] of this.#returning) {
      if (this.#held.length >= this.#places) return;
      this.#returning.delete(place);
      this.hold(place);
      resolve();
    }
    for (const waiting of this.#waiting) {
      if (this.#held.length >= this.#places) return;
      this.#waiting.delete(waiting);
      waiting.give(waiting.caller.destroyed ? undefined : new Held(this));
    }
  }
}

/** A place somebody has. */
class Held implements Place {
  /** Where it stands among those that are held; below zero when it was taken back, or is free. */
  at = -1;
  /** Since when nothing is done at it; never, while something is. */
  idleSince = performance.now();
  #left = false;
  readonly #line: Line;

  constructor(line: Line) {
    this.#line = line;
    line.hold(this);
  }

  work<T>(work: () => Promise<T>): Promise<T> {
    return this.at < 0 ? this.#line.returned(this).then(() => this.#do(work)) : this.#do(work);
  }

  leave(): void {
    this.#left = true;
    if (this.idleSince !== Number.POSITIVE_INFINITY) this.#line.free(this);
  }

  #do<T>(work: () => Promise<T>): Promise<T> {
    const doing = work();
    this.idleSince = Number.POSITIVE_INFINITY;
    const done = () => {
      this.idleSince = performance.now();
      if (this.#left) this.#line.free(this);
    };
    doing.then(done, done);
    return doing;
  }
}
