import { comparison } from '@muster/shared/contract/verification';
import type { Sql } from '../platform/database.ts';
import type { Classes } from '../tasks/classes.ts';
import { UNSAID } from '../tasks/store/classes.ts';
import { firstEqual } from './compare.ts';
import type { Comparison } from './plan.ts';
import { type Checking, findAnswers } from './store/due.ts';

const fencesOf = (of: readonly { fence: number }[]): number[] => of.map(({ fence }) => fence);

/**
 * Compares the answers of a check as its comparator says. A checker is heard of answers that are not the same byte by byte, and only where it was given
 * just these: what it says of them is what a comparator would.
 */
export async function compareAnswers(
  sql: Sql,
  { answers, compared, verification: { comparator } }: Checking,
): Promise<Comparison> {
  const fences = fencesOf(answers);
  const texts = fences.length > 1 ? await findAnswers(sql, fences) : fences.map(() => null);
  const same = firstEqual(texts, comparator);
  if (comparator.kind !== 'checker' || same.every((first) => first === 0)) return { equal: same, vain: 0 };
  const heard = compared.filter((it) => it.status !== 'RETURNED' && it.compares.join() === fences.join());
  const said = await findAnswers(sql, fencesOf(heard.filter(({ status }) => status === 'COMPLETED')));
  return { equal: said.map((text) => equalIn(text, same)).find((it) => it), vain: heard.length };
}

/**
 * What a checker said of answers: for each the first that is equal to it; undefined where it did not name each once, or tells apart what is the
 * `same`, given alike.
 */
export function equalIn(said: string | null, same: readonly number[]): number[] | undefined {
  const { success, data } = comparison.safeParse(JSON.parse(said ?? 'null'));
  if (!success || data.equal.reduce((sum, group) => sum + group.length, 0) !== same.length) return undefined;
  const firsts = new Map(data.equal.flatMap((group) => group.map((n) => [n, Math.min(...group)])));
  const equal = same.map((_, n) => firsts.get(n) ?? -1);
  return equal.every((first, n) => first >= 0 && first === equal[same[n]!]) ? equal : undefined;
}

/** The class of the runs that compare the answers of a task. */
export function checkersClass(
  { idOf }: Pick<Classes, 'idOf'>,
  { owner, verification: { comparator } }: Checking,
): Promise<number> {
  if (comparator.kind !== 'checker') throw new Error(`a comparator of kind ${comparator.kind} has no checker`);
  const { task_type, capability_required: capability = task_type, labels_required, min_trust } = comparator;
  return idOf({ ...UNSAID, owner, capability, labels_required, min_trust });
}
