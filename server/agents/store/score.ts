const ORDER = `array['TRUSTED', 'NEWCOMER', 'PROBATION', 'QUARANTINED', 'BANNED']`;

/** Of rows of `trust_at`: the worst standing; a newcomer's where nobody ever looked. */
export const WORST = `coalesce((${ORDER})[max(array_position(${ORDER}, standing))], 'NEWCOMER')`;

/** And the score that is shown of all of them together: how likely work is finished, times how likely it is right as far as others could check. */
export const SCORE = `
  (1 + coalesce(sum(dependable), 0)) / (2 + coalesce(sum(dependable + undependable), 0))
  * (4 + coalesce(sum("right"), 0)) / (4 + coalesce(sum("right" + wrong), 0))`;
