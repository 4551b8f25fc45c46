/** Numbers in [0, 1). */
export type Random = () => number;

/** Whether something of that probability happens now. */
export const chance = (random: Random, rate: number): boolean => rate > 0 && random() < rate;

/** A standard normal draw (Box and Muller 1958). */
const normal = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

/** The 99th percentile of the standard normal distribution. */
const Z99 = 2.326;

/** A duration in milliseconds of a log-normal distribution with that median and 99th percentile, as service times have it. */
export const lognormalMs = (random: Random, { p50, p99 }: { p50: number; p99: number }): number =>
  p50 === 0 ? 0 : p50 * Math.exp((Math.log(p99 / p50) / Z99) * normal(random));
