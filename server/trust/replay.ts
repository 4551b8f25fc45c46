import type { Sql } from '../platform/database.ts';
import { withOutcome } from './model.ts';
import { DEFAULTS } from './parameters.ts';
import { type Evidence, trustScore } from './score.ts';
import * as store from './store.ts';

/** After so many pieces of evidence what came before weighs less than a double can tell (0.97^1300 < 1e-17). */
const MEMORY = 1_300;
/** And after so many less than anybody will see: enough of them make a score whatever was before. */
const ENOUGH = 1_000;
/** So far back from what is known now the way leads without losing more than a millionth (each step back magnifies what was rounded). */
const REACH = 600;

/** By fold_seq: the score before and after. What cannot be told any more is not there. */
export type Effects = Map<number, { before: number; after: number }>;

interface Outcome {
  fold_seq: number;
  completed: boolean;
}

const NOTHING: Evidence = { dependable: 0, undependable: 0 };

const DECAY = DEFAULTS.dependability_decay;

const withoutOutcome = ({ dependable, undependable }: Evidence, completed: boolean): Evidence => ({
  dependable: Math.max(0, dependable - (completed ? 1 : 0)) / DECAY,
  undependable: Math.max(0, undependable - (completed ? 0 : 1)) / DECAY,
});

/**
 * What pieces of evidence did. Scores are not kept with runs: they are the fold of the runs before, of which only the last ones matter.
 * Where those have been deleted, the way leads back from what the agent is trusted now.
 */
export async function effectsOf(
  sql: Sql,
  agentId: string,
  capability: string,
  folds: readonly number[],
): Promise<Effects> {
  const list = (upTo: number, limit: number) => store.listOutcomes(sql, { agentId, capability, upTo, limit });
  const effects = forwards(await list(Math.max(...folds), MEMORY + folds.length));
  if (folds.every((fold) => effects.has(fold))) return effects;
  const now = await store.findEvidence(sql, agentId, capability);
  return now ? new Map([...backwards(now, await list(now.fold_seq, REACH)), ...effects]) : effects;
}

/** From the first evidence on, or from where enough of it is there without a gap. */
function forwards(outcomes: readonly Outcome[]): Effects {
  const effects: Effects = new Map();
  let evidence = NOTHING;
  let known = 0;
  let last = 0;
  for (const { fold_seq, completed } of outcomes) {
    if (fold_seq === 1) known = ENOUGH;
    else if (fold_seq !== last + 1) [evidence, known] = [NOTHING, 0];
    const next = withOutcome(evidence, completed);
    if (known >= ENOUGH) effects.set(fold_seq, { before: trustScore(evidence), after: trustScore(next) });
    [evidence, known, last] = [next, known + 1, fold_seq];
  }
  return effects;
}

/** From what is known now, as far as no outcome is missing. */
function backwards(now: Evidence & { fold_seq: number }, outcomes: readonly Outcome[]): Effects {
  const effects: Effects = new Map();
  let after: Evidence = now;
  for (const [n, { fold_seq, completed }] of outcomes.toReversed().entries()) {
    if (fold_seq !== now.fold_seq - n) break;
    const before = withoutOutcome(after, completed);
    effects.set(fold_seq, { before: trustScore(before), after: trustScore(after) });
    after = before;
  }
  return effects;
}
