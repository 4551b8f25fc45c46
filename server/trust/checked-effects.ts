import type { Sql } from '../platform/database.ts';
import { fadedChecked, idle } from './model.ts';
import { DEFAULTS } from './parameters.ts';
import { type Checked, UNCHECKED } from './score.ts';
import { findLedger } from './store/integrity.ts';
import { type LedgerRow, listLedger } from './store/verdicts.ts';
import { type Effect, Effects } from './timeline.ts';

/** So far back from what is known now the way leads without losing more than a millionth (each step back magnifies what was rounded). */
const REACH = 1_800;
const MOST_MAGNIFIED = DEFAULTS.integrity_decay ** -(REACH + 1);

type Known = Checked & { checked_at: number };
const NOTHING: Known = { ...UNCHECKED, checked_at: 0 };
const fade = (known: Known, at: number): Known => ({ ...fadedChecked(known, at - known.checked_at), checked_at: at });

/** What the verdicts and words since a moment did to what is known of the agent's integrity: undone from now on, for the oldest of them may be gone. */
export async function checkedEffectsOf(
  sql: Sql,
  agent_id: string,
  capability: string,
  since: number,
): Promise<Effects<Known>> {
  const ledger = await findLedger(sql, { agent_id, capability });
  if (!ledger?.fold_seq) return new Effects([], fade, NOTHING);
  const rows = await listLedger(sql, { agent_id, capability, upTo: ledger.fold_seq, since, limit: REACH });
  const { right, wrong, checked_at } = ledger.trust;
  const effects: Effect<Known>[] = [];
  let after: Known = { right, wrong, checked_at };
  let magnified = 1;
  for (const [n, row] of rows.entries()) {
    if (row.fold_seq !== ledger.fold_seq - n || magnified > MOST_MAGNIFIED) break;
    const { left, ...before } = undone(after, row, rows.slice(n + 1));
    effects.push({ fold_seq: row.fold_seq, at: row.at, before: fade(before, row.at), after });
    [after, magnified] = [before, magnified / left];
  }
  return new Effects(effects, fade);
}

/** What was known before a row of the ledger, as it stood at the verdict before, and how much of it the row left. */
function undone(
  { right, wrong, checked_at }: Known,
  row: LedgerRow,
  earlier: readonly LedgerRow[],
): Known & { left: number } {
  if (row.found === null) {
    const forgave = row.kind === 'release' || row.kind === 'return';
    return { right, wrong: forgave ? wrong / DEFAULTS.forgiven : wrong, checked_at, left: 1 };
  }
  const was = earlier.find(({ found }) => found !== null)?.at ?? row.at;
  const left = idle(row.at - was) * DEFAULTS.integrity_decay;
  const [w, s] = row.found === 'RIGHT' ? [row.weight!, 0] : [0, row.weight!];
  return { right: Math.max(0, right - w) / left, wrong: Math.max(0, wrong - s) / left, checked_at: was, left };
}
