import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import { type Apart, nameOf, namesOf, type Party } from './parties.ts';
import { type Field, findFields } from './store/field.ts';

/** How long it is believed who is there, in milliseconds at least; and so many times as long as it took to find out, for that reads all agents. */
const BELIEF_MS = 1_000;
const BELIEF_TIMES = 20;

/** Finds who could do the tasks of a class; it is asked once a second at most, less often where there are many, and for several together. */
export type FieldOf = (classId: number) => Promise<Field>;

export function createFields({ db }: Pick<Deps, 'db'>): FieldOf {
  const known = new Map<number, { field: Field; until: number }>();
  const find = createBatcher(async (ids: number[]) => {
    const found = await findFields(db.loops, [...new Set(ids)]);
    return ids.map((id) => found.get(id) ?? { owners: 0, trusted: [] });
  });
  return async (classId) => {
    const belief = known.get(classId);
    if (belief && belief.until > performance.now()) return belief.field;
    const since = performance.now();
    const field = await find(classId);
    const now = performance.now();
    known.set(classId, { field, until: now + Math.max(BELIEF_MS, BELIEF_TIMES * (now - since)) });
    return field;
  };
}

/** Where all who are there have one owner, those who check each other must at least not have come with the same enrolment. */
export const apartIn = ({ owners }: Field): Apart => (owners > 1 ? 'owner' : 'enrolment');

/** Whether somebody trusted is there who has nothing to do with those that have had the task. */
export const vouchedIn = ({ trusted }: Field, parties: readonly string[], apart: Apart): boolean =>
  trusted.some((it) => !parties.includes(nameOf(it, apart)));

export const partiesOf = (all: readonly Party[]): string[] => all.flatMap(namesOf);
