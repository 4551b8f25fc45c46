import jstat from 'jstat';

const { jStat } = jstat;

/** Evidence of dependability as it stands after decay: what finished, what did not. */
export interface Evidence {
  dependable: number;
  undependable: number;
}

/** How likely the agent finishes what it takes: the mean of Beta(1 + d, 1 + u) (Josang & Ismail 2002). 0.5 for a newcomer. */
export const dependability = ({ dependable, undependable }: Evidence): number =>
  (1 + dependable) / (2 + dependable + undependable);

/**
 * How likely what it returns is right. Only what others could check moves it, and nothing checks yet: (r + 4) / (r + s + 4)
 * with r = s = 0.
 */
export const INTEGRITY_UNCHECKED = 1;

/** The score that is shown and gated on, 0..1: dependability times integrity. */
export const trustScore = (evidence: Evidence): number => dependability(evidence) * INTEGRITY_UNCHECKED;

/** How much evidence there is, 0..1: one less the width of the 90 % credible interval of dependability. */
export function confidence({ dependable, undependable }: Evidence): number {
  const [a, b] = [1 + dependable, 1 + undependable];
  return Math.max(0, 1 - (jStat.beta.inv(0.95, a, b) - jStat.beta.inv(0.05, a, b)));
}
