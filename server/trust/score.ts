import jstat from 'jstat';

const { jStat } = jstat;

/** Evidence of dependability as it stands after decay: what finished, what did not. */
export interface Evidence {
  dependable: number;
  undependable: number;
}

/** Evidence of integrity as it stands after decay: what others found right, what they found wrong. */
export interface Checked {
  right: number;
  wrong: number;
}

export const UNCHECKED: Checked = { right: 0, wrong: 0 };

/** How likely the agent finishes what it takes: the mean of Beta(1 + d, 1 + u) (Josang & Ismail 2002). 0.5 for a newcomer. */
export const dependability = ({ dependable, undependable }: Evidence): number =>
  (1 + dependable) / (2 + dependable + undependable);

/** How likely what it returns is right: the mean of Beta(1 + r, 1 + s) (Josang & Ismail 2002). What is decided by, where a stranger must not count as honest. */
export const integrity = ({ right, wrong }: Checked): number => (1 + right) / (2 + right + wrong);

/** The integrity that is shown, (r + 4) / (r + s + 4): 1 as long as nothing was found wrong, so that no good evidence lowers a score. */
export const integrityShown = ({ right, wrong }: Checked): number => (right + 4) / (right + wrong + 4);

/** What `min_integrity` compares: with 95 % certainty integrity is at least this, the 5 % quantile of Beta(1 + r, 1 + s). */
export const integrityAtLeast = ({ right, wrong }: Checked): number => jStat.beta.inv(0.05, 1 + right, 1 + wrong);

/** The probability that integrity is below `bound`, the Beta distribution function. */
export const integrityBelow = ({ right, wrong }: Checked, bound: number): number =>
  jStat.beta.cdf(bound, 1 + right, 1 + wrong);

/** The score that is shown and gated on, 0..1: dependability times integrity as shown. */
export const trustScore = (evidence: Evidence, checked: Checked = UNCHECKED): number =>
  dependability(evidence) * integrityShown(checked);

/** How much evidence there is, 0..1: one less the width of the 90 % credible interval of dependability. */
export function confidence({ dependable, undependable }: Evidence): number {
  const [a, b] = [1 + dependable, 1 + undependable];
  return Math.max(0, 1 - (jStat.beta.inv(0.95, a, b) - jStat.beta.inv(0.05, a, b)));
}

/** Scores in words, from the least score of each. */
const LEVELS = [
  [0.9, 'excellent'],
  [0.7, 'high'],
  [0.5, 'medium'],
  [0.3, 'low'],
] as const;

export type Level = (typeof LEVELS)[number][1] | 'very_low';

export const levelOf = (score: number): Level => LEVELS.find(([least]) => score >= least)?.[1] ?? 'very_low';
