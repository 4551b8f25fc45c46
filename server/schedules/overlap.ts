import type { Overlap } from '@muster/shared/contract/schedule-rule';

/** What becomes of a due time: a task, which may have to wait until another has ended; or none. */
export type Turn = { task_id: string; needs: string | null } | null;

/**
 * Gives due times their turns, one after the other. `open` are the tasks made before that have not ended, newest first; `taskIds` are those the due
 * times would make. Of CANCEL_OTHER only the last one has a turn: it would cancel the others at once.
 */
export function takeTurns(overlap: Overlap, open: readonly string[], taskIds: readonly string[]): Turn[] {
  let before = [...open];
  return taskIds.map((task_id, n) => {
    const goes = {
      SKIP: before.length === 0,
      BUFFER_ONE: before.length < 2,
      BUFFER_ALL: true,
      CANCEL_OTHER: n === taskIds.length - 1,
      ALLOW_ALL: true,
    }[overlap];
    if (!goes) return null;
    const waits = overlap === 'BUFFER_ONE' || overlap === 'BUFFER_ALL';
    const needs = waits ? (before[0] ?? null) : null;
    before = [task_id, ...before];
    return { task_id, needs };
  });
}
