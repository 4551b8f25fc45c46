/** Numbers that look random and are the same for the same seed. */
export interface Random {
  /** A whole number from 0 up to below `n`. */
  below(n: number): number;
  /** A whole number, both ends included. */
  between(from: number, to: number): number;
  pick<T>(of: readonly T[]): T;
}

/** By mulberry32 (Tommy Ettinger, public domain). */
export function randomOf(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (n: number) => Math.floor(next() * n);
  return { below, between: (from, to) => from + below(to - from + 1), pick: (of) => of[below(of.length)]! };
}

/** The seed of a test: of the environment, to see a failure again, else a new one each time. Say it in the name of the test. */
export const seedOf = (variable: string): number => Number(process.env[variable] ?? Math.floor(Math.random() * 1e9));
