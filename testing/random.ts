/** Numbers that look random and are the same for the same seed. */
export interface Random {
  /** A whole number from 0 up to below `n`. */
  below(n: number): number;
  /** A whole number, both ends included. */
  between(from: number, to: number): number;
  pick<T>(of: readonly T[]): T;
}

/** Numbers in [0, 1) that are the same for the same seed. Mulberry32 (Tommy Ettinger, public domain): for tests, not for secrets. */
export function seededRandom(seed: number | string): () => number {
  let state = typeof seed === 'number' ? seed >>> 0 : hash(seed);
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0)!, 0x01000193);
  return value >>> 0;
}

export function randomOf(seed: number): Random {
  const next = seededRandom(seed);
  const below = (n: number) => Math.floor(next() * n);
  return { below, between: (from, to) => from + below(to - from + 1), pick: (of) => of[below(of.length)]! };
}

/** The seed of a test: of the environment, to see a failure again, else a new one each time. Say it in the name of the test. */
export const seedOf = (variable: string): number => Number(process.env[variable] ?? Math.floor(Math.random() * 1e9));
