/** How many of those that wait are compared for a task: a draw for everybody would make it dear to be many. */
export const SAMPLE = 16;

interface Place<T> {
  it: T;
  before: Place<T>;
  after: Place<T>;
}

/**
 * Who waits, in the order they came; but whoever was looked at stands at the end, so that everybody is looked at in turn. A ring, so that this
 * is a step to the next: a Set, in which it is to leave and to come, is made anew again and again.
 */
export class Line<T> {
  private readonly places = new Map<T, Place<T>>();
  private head: Place<T> | undefined;

  get size(): number {
    return this.places.size;
  }

  get first(): T | undefined {
    return this.head?.it;
  }

  *[Symbol.iterator](): Generator<T> {
    let at = this.head;
    for (let left = this.places.size; at && left > 0; left -= 1) {
      yield at.it;
      at = at.after;
    }
  }

  add(it: T): this {
    const place = { it } as Place<T>;
    const after = this.head ?? place;
    const before = this.head?.before ?? place;
    Object.assign(place, { before, after });
    before.after = place;
    after.before = place;
    this.head ??= place;
    this.places.set(it, place);
    return this;
  }

  delete(it: T): boolean {
    const place = this.places.get(it);
    if (!place) return false;
    this.places.delete(it);
    place.before.after = place.after;
    place.after.before = place.before;
    if (this.head === place) this.head = this.places.size > 0 ? place.after : undefined;
    return true;
  }

  /** Those of these that still wait, in this order. */
  toEnd(some: Iterable<T>): void {
    for (const it of some) if (this.delete(it)) this.add(it);
  }

  /** Everybody once, who was not looked at for longest first: as many as are asked for. */
  *round(): Generator<T> {
    for (let left = this.places.size; this.head && left > 0; left -= 1) {
      const { it, after } = this.head;
      this.head = after;
      yield it;
    }
  }
}

/** The first so many of these; the rest is not looked at. */
export function firstOf<T>(n: number, line: Iterable<T>): T[] {
  const first: T[] = [];
  for (const it of line) if (first.push(it) === n) break;
  return first;
}

/** All of these by how well they suit, those that suit best first. */
export function tiersOf<T>(line: Iterable<T>, suits: (it: T) => number): T[][] {
  const tiers = new Map<number, T[]>();
  for (const it of line) {
    const how = suits(it);
    const tier = tiers.get(how);
    if (tier) tier.push(it);
    else tiers.set(how, [it]);
  }
  return [...tiers].sort(([a], [b]) => b - a).map(([, tier]) => tier);
}

/** All of these, the best of the next SAMPLE first: the one of the least rank, of equals the first. Each is ranked once. */
export function* bestFirst<T>(line: Iterable<T>, rankOf: (it: T) => number): Generator<T> {
  const sample: { it: T; rank: number }[] = [];
  for (const it of line) {
    sample.push({ it, rank: rankOf(it) });
    if (sample.length === SAMPLE) yield takeBest(sample);
  }
  while (sample.length > 0) yield takeBest(sample);
}

function takeBest<T>(sample: { it: T; rank: number }[]): T {
  let best = 0;
  for (let n = 1; n < sample.length; n += 1) if (sample[n]!.rank < sample[best]!.rank) best = n;
  return sample.splice(best, 1)[0]!.it;
}
