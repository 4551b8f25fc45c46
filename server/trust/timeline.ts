/** What one piece of evidence did at its moment: `before`, already faded to it, and `after`. */
export interface Effect<T> {
  fold_seq: number;
  at: number;
  before: T;
  after: T;
}

/** What is known of pieces of evidence in their order, and so of the moments between them. */
export class Effects<T> {
  readonly #latest: readonly Effect<T>[];
  readonly #byFold: ReadonlyMap<number, Effect<T>>;
  readonly #fade: (known: T, at: number) => T;
  readonly #beginning: T | undefined;

  /** `fade` says what is left of something at a moment; `beginning` what there was before the first piece, where that is known. */
  constructor(effects: readonly Effect<T>[], fade: (known: T, at: number) => T, beginning?: T) {
    this.#fade = fade;
    this.#beginning = beginning;
    this.#latest = [...effects].sort((a, b) => b.fold_seq - a.fold_seq);
    this.#byFold = new Map(effects.map((effect) => [effect.fold_seq, effect]));
  }

  /** What a piece did. */
  of(fold: number): Effect<T> | undefined {
    return this.#byFold.get(fold);
  }

  /** What was known when everything of a moment had come. */
  asOf(at: number): T | undefined {
    return this.#known(at, (effect) => effect.at <= at);
  }

  /** What was known when nothing of a moment had come yet. */
  until(at: number): T | undefined {
    return this.#known(at, (effect) => effect.at < at);
  }

  #known(at: number, isBefore: (effect: Effect<T>) => boolean): T | undefined {
    const last = this.#latest.find(isBefore);
    if (last) return this.#fade(last.after, at);
    // The first piece of all has nothing before it; what is before another is not known.
    return this.#latest.at(-1)?.fold_seq === 1 ? this.#latest.at(-1)!.before : this.#beginning;
  }
}
