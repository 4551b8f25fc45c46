const DAY_MS = 86_400_000;

/**
 * What the model's numbers are set to; docs/trust.md says what each is for. Times are milliseconds, shares and probabilities 0..1,
 * decays are what is left of a count after one more piece of evidence.
 */
export interface Parameters {
  dependability_decay: number;
  integrity_decay: number;
  half_life_ms: number;
  /** What an agreement weighs that someone trusted takes part in, and one among strangers. */
  vouched_weight: number;
  unvouched_weight: number;
  refuted_weight: number;
  promote_streak: number;
  promote_integrity: number;
  promote_certainty: number;
  quarantine_faults: number;
  quarantine_integrity: number;
  quarantine_certainty: number;
  quarantine_ms: number;
  /** The quarantine of this number does not end by itself. */
  quarantines_to_ban: number;
  /** What is left of the evidence against an agent when it comes back. */
  forgiven: number;
  replicate_least: number;
  replicate_doubt: number;
  audit_share: number;
  canary_share: number;
  look_back: number;
  look_back_clean: number;
  quorum: number;
  most_votes: number;
  /** The leading answer must weigh so many times what speaks against it. */
  majority: number;
  vote_least: number;
  vote_most: number;
}

export const DEFAULTS: Parameters = {
  dependability_decay: 0.97,
  integrity_decay: 0.99,
  half_life_ms: 30 * DAY_MS,
  vouched_weight: 1,
  unvouched_weight: 0.25,
  refuted_weight: 3,
  promote_streak: 10,
  promote_integrity: 0.8,
  promote_certainty: 0.8,
  quarantine_faults: 1.6,
  quarantine_integrity: 0.9,
  quarantine_certainty: 0.95,
  quarantine_ms: DAY_MS,
  quarantines_to_ban: 3,
  forgiven: 0.3,
  replicate_least: 0.05,
  replicate_doubt: 2,
  audit_share: 0.15,
  canary_share: 0.002,
  look_back: 200,
  look_back_clean: 40,
  quorum: 2,
  most_votes: 6,
  majority: 1.5,
  vote_least: 0.55,
  vote_most: 0.995,
};
