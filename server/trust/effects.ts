import type { Sql } from '../platform/database.ts';
import { fadedEvidence, idle, withPieceAt } from './model.ts';
import { DEFAULTS } from './parameters.ts';
import type { Evidence } from './score.ts';
import * as store from './store/dependability.ts';
import { type Effect, Effects } from './timeline.ts';

/** After so many pieces of evidence what came before weighs less than a double can tell (0.97^1300 < 1e-17). */
const MEMORY = 1_300;
/** And after so many less than anybody will see: enough of them make a score whatever was before. */
const ENOUGH = 1_000;
/** So far back from what is known now the way leads without losing more than a millionth (each step back magnifies what was rounded). */
const REACH = 600;
const MOST_MAGNIFIED = DEFAULTS.dependability_decay ** -(REACH + 1);

type Known = Evidence & { finished_at: number };
const NOTHING: Known = { dependable: 0, undependable: 0, finished_at: 0 };

const fade = (known: Known, at: number): Known => ({
  ...fadedEvidence(known, at - known.finished_at),
  finished_at: at,
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
): Promise<Effects<Known>> {
  if (folds.length === 0) return new Effects([], fade, NOTHING);
  const list = (upTo: number, limit: number) => store.listPieces(sql, { agentId, capability, upTo, limit });
  const effects = forwards(await list(Math.max(...folds), MEMORY + folds.length));
  if (folds.every((fold) => effects.has(fold))) return new Effects([...effects.values()], fade);
  const now = await store.findEvidence(sql, agentId, capability);
  const all = now ? new Map([...backwards(now, await list(now.fold_seq, REACH)), ...effects]) : effects;
  return new Effects([...all.values()], fade);
}

/** From the first evidence on, or from where enough of it is there without a gap. */
function forwards(pieces: readonly store.Piece[]): Map<number, Effect<Known>> {
  const effects = new Map<number, Effect<Known>>();
  let evidence = NOTHING;
  let known = 0;
  let last = 0;
  for (const { fold_seq, at, ...piece } of pieces) {
    if (fold_seq === 1) known = ENOUGH;
    else if (fold_seq !== last + 1) [evidence, known] = [NOTHING, 0];
    const after = withPieceAt(evidence, piece, at);
    if (known >= ENOUGH) effects.set(fold_seq, { fold_seq, at, before: fade(evidence, at), after });
    [evidence, known, last] = [after, known + 1, fold_seq];
  }
  return effects;
}

/** From what is known now, as far as no piece is missing. */
function backwards(now: store.Folded, pieces: readonly store.Piece[]): Map<number, Effect<Known>> {
  const effects = new Map<number, Effect<Known>>();
  const { fold_seq: last, ...known } = now;
  let after: Known = known;
  let magnified = 1;
  for (const [n, { fold_seq, at, ...piece }] of pieces.toReversed().entries()) {
    if (fold_seq !== last - n || magnified > MOST_MAGNIFIED) break;
    const before = withoutPiece(after, piece);
    effects.set(fold_seq, { fold_seq, at, before, after });
    // As it stood when the piece before had come.
    const finished_at = pieces.at(-n - 2)?.at ?? at;
    const left = idle(at - finished_at);
    magnified /= left * DEFAULTS.dependability_decay;
    after = { dependable: before.dependable / left, undependable: before.undependable / left, finished_at };
  }
  return effects;
}

const withoutPiece = ({ dependable, undependable, finished_at }: Known, piece: Evidence): Known => ({
  dependable: Math.max(0, dependable - piece.dependable) / DEFAULTS.dependability_decay,
  undependable: Math.max(0, undependable - piece.undependable) / DEFAULTS.dependability_decay,
  finished_at,
});

/** What all evidence of (agent, capability) comes to when it is folded anew; undefined where too much of it has been deleted to tell. */
export async function refold(sql: Sql, agentId: string, capability: string, upTo: number): Promise<Known | undefined> {
  const pieces = await store.listPieces(sql, { agentId, capability, upTo, limit: MEMORY });
  const first = pieces[0]?.fold_seq ?? 1;
  if (pieces.length !== upTo - first + 1 || (first > 1 && pieces.length < MEMORY)) return undefined;
  return pieces.reduce<Known>((so, { at, ...piece }) => withPieceAt(so, piece, at), NOTHING);
}
