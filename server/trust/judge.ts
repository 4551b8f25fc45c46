import type { Verdict } from './model.ts';
import { DEFAULTS, type Parameters } from './parameters.ts';
import { type Checked, integrity } from './score.ts';
import { type Known, vouches } from './scrutiny.ts';

/** What one agent answered. Answers that a comparator finds equal carry the same value. */
export interface Vote<Answer> {
  agent: Known;
  answer: Answer;
  /** Asked after others had answered, to judge between or over them. */
  judge: boolean;
}

/** ASK: one more judge. DISPUTED: so many asked and still no answer. DECIDED: the answer, and what it says of each vote, in their order. */
export type Ruling<Answer> =
  | { is: 'ASK' }
  | { is: 'DISPUTED' }
  | { is: 'DECIDED'; answer: Answer; verdicts: Verdict[] };

/**
 * Decides between answers by the weight of those who gave them, log(I / (1 - I)) with I kept within bounds (Sarmenta 2001,
 * credibility-based voting): the leading one needs `quorum` votes and so many times the weight of all others together. Those who held
 * the task together from the start and agree may have agreed to lie: once they are contradicted they weigh as one.
 */
export function judge<Answer>(
  votes: readonly Vote<Answer>[],
  quorum: number,
  p: Parameters = DEFAULTS,
): Ruling<Answer> {
  const groups = groupsOf(votes);
  const weights = [...groups].map(([answer, voters]) => ({ answer, voters, weight: weightOf(voters, p) }));
  const leading = weights.reduce((best, it) => (it.weight > best.weight ? it : best));
  const against = weights.reduce((sum, it) => sum + it.weight, -leading.weight);
  const { answer, voters, weight } = leading;
  if (voters.length >= quorum && weight >= against * p.majority)
    return { is: 'DECIDED', answer, verdicts: votes.map((vote) => verdictOn(vote, groups, voters)) };
  return { is: votes.length < p.most_votes ? 'ASK' : 'DISPUTED' };
}

function groupsOf<Answer>(votes: readonly Vote<Answer>[]): Map<Answer, Vote<Answer>[]> {
  const groups = new Map<Answer, Vote<Answer>[]>();
  for (const vote of votes) {
    const group = groups.get(vote.answer);
    if (group) group.push(vote);
    else groups.set(vote.answer, [vote]);
  }
  return groups;
}

function weightOf(votes: readonly Vote<unknown>[], p: Parameters): number {
  const weights = (judge: boolean) =>
    votes.filter((vote) => vote.judge === judge).map(({ agent }) => voteWeight(agent, p));
  return weights(true).reduce((sum, weight) => sum + weight, Math.max(0, ...weights(false)));
}

/** How much an agent's word weighs against another's. */
export function voteWeight(agent: Checked & { anchor: boolean }, p: Parameters = DEFAULTS): number {
  const likely = agent.anchor ? p.vote_most : Math.min(p.vote_most, Math.max(p.vote_least, integrity(agent)));
  return Math.log(likely / (1 - likely));
}

/** Two who err alike conspire, if someone trusted says that they err: among strangers the honest may be the fewer. */
function verdictOn<Answer>(vote: Vote<Answer>, groups: Map<Answer, Vote<Answer>[]>, winners: Vote<Answer>[]): Verdict {
  if (winners.includes(vote))
    return { found: 'RIGHT', vouched: winners.some((other) => other !== vote && vouches(other.agent)) };
  const alike = groups.get(vote.answer)!.length > 1 && winners.some(({ agent }) => vouches(agent));
  return { found: alike ? 'COLLUDED' : 'WRONG' };
}
