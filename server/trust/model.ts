import type { Standing } from '@muster/shared/lifecycle';
import { DEFAULTS, type Parameters } from './parameters.ts';
import { type Checked, dependability, type Evidence, integrityBelow, integrityShown, trustScore } from './score.ts';

/**
 * All that is known of an agent's work in one capability. Counts are as they stood at their moment, `finished_at` for dependability
 * and `checked_at` for integrity; moments are milliseconds.
 */
export interface Trust extends Evidence, Checked {
  finished_at: number;
  checked_at: number;
  /** How much agreement there was since the last fault. */
  streak: number;
  /** Recent faults: each counts one and fades as later work is checked. */
  faults: number;
  standing: Standing;
  quarantines: number;
  quarantined_until: number | null;
}

/** What others found out about a run: it was right (`vouched`: someone trusted says so), wrong, or wrong in the same way as another's. */
export type Verdict = { found: 'RIGHT'; vouched: boolean } | { found: 'WRONG' } | { found: 'COLLUDED' };

export const newcomer = (at: number): Trust => ({
  dependable: 0,
  undependable: 0,
  right: 0,
  wrong: 0,
  finished_at: at,
  checked_at: at,
  streak: 0,
  faults: 0,
  standing: 'NEWCOMER',
  quarantines: 0,
  quarantined_until: null,
});

/** What one outcome is worth. */
export const outcome = (completed: boolean): Evidence => ({
  dependable: completed ? 1 : 0,
  undependable: completed ? 0 : 1,
});

/** One piece of evidence more: what was known decays, and the piece counts for or against (Josang & Ismail 2002, forgetting). */
export const withPiece = (
  { dependable, undependable }: Evidence,
  piece: Evidence,
  { dependability_decay: decay }: Parameters = DEFAULTS,
): Evidence => ({
  dependable: dependable * decay + piece.dependable,
  undependable: undependable * decay + piece.undependable,
});

/** What an adjusted score may come to: nobody's word makes it certain. */
const [LEAST, MOST] = [0.01, 0.99];

/** The piece of evidence that moves a score by `delta`, within bounds: so much for or against as gives the wanted mean of Beta(1 + d, 1 + u). */
export function adjustment(evidence: Evidence, checked: Checked, delta: number, p: Parameters = DEFAULTS): Evidence {
  const wanted = Math.min(MOST, Math.max(LEAST, (trustScore(evidence, checked) + delta) / integrityShown(checked)));
  const decayed = withPiece(evidence, { dependable: 0, undependable: 0 }, p);
  const { dependable: d, undependable: u } = decayed;
  return dependability(decayed) < wanted
    ? { dependable: (wanted * (2 + d + u) - 1 - d) / (1 - wanted), undependable: 0 }
    : { dependable: 0, undependable: Math.max(0, (1 + d) / wanted - 2 - d - u) };
}

/** What is left of a count after `ms` without evidence: half of it after each half-life. */
export const idle = (ms: number, { half_life_ms }: Parameters = DEFAULTS): number =>
  2 ** (-Math.max(0, ms) / half_life_ms);

/** One piece more at a moment: what was known has faded since the one before. */
export function withPieceAt(
  { finished_at, ...evidence }: Evidence & Pick<Trust, 'finished_at'>,
  piece: Evidence,
  at: number,
  p: Parameters = DEFAULTS,
): Evidence & Pick<Trust, 'finished_at'> {
  return {
    ...withPiece(fadedEvidence(evidence, at - finished_at, p), piece, p),
    finished_at: Math.max(at, finished_at),
  };
}

/** What is left of evidence after `ms` without any. */
export function fadedEvidence({ dependable, undependable }: Evidence, ms: number, p: Parameters = DEFAULTS): Evidence {
  const left = idle(ms, p);
  return { dependable: dependable * left, undependable: undependable * left };
}

/** The same of what others found. */
export function fadedChecked({ right, wrong }: Checked, ms: number, p: Parameters = DEFAULTS): Checked {
  const left = idle(ms, p);
  return { right: right * left, wrong: wrong * left };
}

/** A run of the agent that ended by its own doing at a moment. Its word that it finished moves dependability, never integrity. */
export const finished = (trust: Trust, completed: boolean, at: number, p: Parameters = DEFAULTS): Trust => ({
  ...trust,
  ...withPieceAt(trust, outcome(completed), at, p),
});

/**
 * What others found, at a moment, about one run. Right counts for the agent, less where only strangers agree; wrong counts threefold
 * against it, ends its streak and puts it on probation; two recent faults of one whose integrity is surely below the bound, or a
 * wrong answer shared with another (Sarmenta 2001, blacklisting), take its work away.
 */
export function checked(trust: Trust, verdict: Verdict, at: number, p: Parameters = DEFAULTS): Trust {
  const left = idle(at - trust.checked_at, p) * p.integrity_decay;
  const next = {
    ...trust,
    right: trust.right * left,
    wrong: trust.wrong * left,
    faults: trust.faults * p.integrity_decay,
    checked_at: Math.max(at, trust.checked_at),
  };
  if (verdict.found === 'RIGHT') {
    const weight = verdict.vouched ? p.vouched_weight : p.unvouched_weight;
    next.right += weight;
    next.streak += weight;
    return isPromoted(next, p) ? { ...next, standing: 'TRUSTED' } : next;
  }
  next.wrong += p.refuted_weight;
  next.faults += 1;
  next.streak = 0;
  if (isOut(next)) return next;
  const out = verdict.found === 'COLLUDED' || isUnfit(next, p);
  return out ? quarantined(next, at, p) : { ...next, standing: 'PROBATION' };
}

const isOut = ({ standing }: Trust) => standing === 'QUARANTINED' || standing === 'BANNED';

const isPromoted = (trust: Trust, p: Parameters): boolean =>
  (trust.standing === 'NEWCOMER' || trust.standing === 'PROBATION') &&
  trust.streak >= p.promote_streak &&
  1 - integrityBelow(trust, p.promote_integrity) >= p.promote_certainty;

const isUnfit = (trust: Trust, p: Parameters): boolean =>
  trust.faults >= p.quarantine_faults && integrityBelow(trust, p.quarantine_integrity) > p.quarantine_certainty;

/** No work from a moment on: for a day, then two, then until an admin says otherwise. */
export function quarantined(trust: Trust, at: number, p: Parameters = DEFAULTS): Trust {
  const quarantines = trust.quarantines + 1;
  if (quarantines >= p.quarantines_to_ban)
    return { ...trust, standing: 'BANNED', quarantines, quarantined_until: null };
  const quarantined_until = at + p.quarantine_ms * 2 ** trust.quarantines;
  return { ...trust, standing: 'QUARANTINED', quarantines, quarantined_until };
}

/** The same with a quarantine that is over by a moment ended. */
export const returned = (trust: Trust, at: number, p: Parameters = DEFAULTS): Trust =>
  trust.standing === 'QUARANTINED' && trust.quarantined_until !== null && trust.quarantined_until <= at
    ? released(trust, p)
    : trust;

/** Out of quarantine or ban: on probation, most of what spoke against it forgiven. */
export const released = (trust: Trust, p: Parameters = DEFAULTS): Trust => ({
  ...trust,
  wrong: trust.wrong * p.forgiven,
  streak: 0,
  standing: 'PROBATION',
  quarantined_until: null,
});

/** What admins say of a standing, and that a quarantine is over: events of STANDING that are no verdicts. */
export type Word = 'promote' | 'refute' | 'quarantine' | 'ban' | 'release' | 'return';

/** A standing moved by a word at a moment, where it may be. What others found is left as it is, but for what coming back forgives. */
export function told(trust: Trust, word: Word, at: number, p: Parameters = DEFAULTS): Trust {
  switch (word) {
    case 'promote':
      return { ...trust, standing: 'TRUSTED', streak: Math.max(trust.streak, p.promote_streak) };
    case 'refute':
      return { ...trust, standing: 'PROBATION', streak: 0 };
    case 'quarantine':
      return quarantined(trust, at, p);
    case 'ban':
      return { ...trust, standing: 'BANNED', quarantined_until: null };
    default:
      return released(trust, p);
  }
}
