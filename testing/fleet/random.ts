/** Numbers in [0, 1) that are the same for the same seed. Mulberry32 (Tommy Ettinger, public domain): for tests, not for secrets. */
export type Random = () => number;

export function seededRandom(seed: number | string): Random {
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

/** Whether something of that probability happens now. */
export const chance = (random: Random, rate: number): boolean => rate > 0 && random() < rate;

/** A standard normal draw (Box and Muller 1958). */
const normal = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

/** The 99th percentile of the standard normal distribution. */
const Z99 = 2.326;

/** A duration in milliseconds of a log-normal distribution with that median and 99th percentile, as service times have it. */
export const lognormalMs = (random: Random, { p50, p99 }: { p50: number; p99: number }): number =>
  p50 === 0 ? 0 : p50 * Math.exp((Math.log(p99 / p50) / Z99) * normal(random));
