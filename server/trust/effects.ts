import type { Sql } from '../platform/database.ts';
import { withPiece } from './model.ts';
import { DEFAULTS } from './parameters.ts';
import { type Evidence, trustScore } from './score.ts';
import * as store from './store/dependability.ts';

/** After so many pieces of evidence what came before weighs less than a double can tell (0.97^1300 < 1e-17). */
const MEMORY = 1_300;
/** And after so many less than anybody will see: enough of them make a score whatever was before. */
const ENOUGH = 1_000;
/** So far back from what is known now the way leads without losing more than a millionth (each step back magnifies what was rounded). */
const REACH = 600;

/** By fold_seq: the score before and after. What cannot be told any more is not there. */
export type Effects = Map<number, { before: number; after: number }>;

const NOTHING: Evidence = { dependable: 0, undependable: 0 };

const DECAY = DEFAULTS.dependability_decay;

const withoutPiece = ({ dependable, undependable }: Evidence, piece: Evidence): Evidence => ({
  dependable: Math.max(0, dependable - piece.dependable) / DECAY,
  undependable: Math.max(0, undependable - piece.undependable) / DECAY,
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
  const list = (upTo: number, limit: number) => store.listPieces(sql, { agentId, capability, upTo, limit });
  const effects = forwards(await list(Math.max(...folds), MEMORY + folds.length));
  if (folds.every((fold) => effects.has(fold))) return effects;
  const now = await store.findEvidence(sql, agentId, capability);
  return now ? new Map([...backwards(now, await list(now.fold_seq, REACH)), ...effects]) : effects;
}

/** From the first evidence on, or from where enough of it is there without a gap. */
function forwards(pieces: readonly store.Piece[]): Effects {
  const effects: Effects = new Map();
  let evidence = NOTHING;
  let known = 0;
  let last = 0;
  for (const { fold_seq, ...piece } of pieces) {
    if (fold_seq === 1) known = ENOUGH;
    else if (fold_seq !== last + 1) [evidence, known] = [NOTHING, 0];
    const next = withPiece(evidence, piece);
    if (known >= ENOUGH) effects.set(fold_seq, { before: trustScore(evidence), after: trustScore(next) });
    [evidence, known, last] = [next, known + 1, fold_seq];
  }
  return effects;
}

/** From what is known now, as far as no piece is missing. */
function backwards(now: store.Piece, pieces: readonly store.Piece[]): Effects {
  const effects: Effects = new Map();
  let after: Evidence = now;
  for (const [n, { fold_seq, ...piece }] of pieces.toReversed().entries()) {
    if (fold_seq !== now.fold_seq - n) break;
    const before = withoutPiece(after, piece);
    effects.set(fold_seq, { before: trustScore(before), after: trustScore(after) });
    after = before;
  }
  return effects;
}

/** What all evidence of (agent, capability) comes to when it is folded anew; undefined where too much of it has been deleted to tell. */
export async function refold(
  sql: Sql,
  agentId: string,
  capability: string,
  upTo: number,
): Promise<Evidence | undefined> {
  const pieces = await store.listPieces(sql, { agentId, capability, upTo, limit: MEMORY });
  const first = pieces[0]?.fold_seq ?? 1;
  if (pieces.length !== upTo - first + 1 || (first > 1 && pieces.length < MEMORY)) return undefined;
  return pieces.reduce<Evidence>((so, piece) => withPiece(so, piece), NOTHING);
}
