import type { Json } from '@muster/shared/contract/fields';
import type { Comparator } from '@muster/shared/contract/verification';
import { canonical } from './canonical.ts';

/** Of answers, as JSON text: for each the first that is equal to it, by its position. Where a checker is to say so, those are that need none: the same bytes. */
export function firstEqual(answers: readonly (string | null)[], comparator: Comparator): number[] {
  if (comparator.kind === 'numeric') return nearest(answers, comparator);
  const texts = answers.map((it) => (it === null || comparator.kind !== 'json' ? it : canonical(JSON.parse(it))));
  return texts.map((it) => texts.indexOf(it));
}

/** To be near is not to be near to the same: what is compared with is the first of those that are equal so far. */
function nearest(answers: readonly (string | null)[], near: Near): number[] {
  const values = answers.map((it) => JSON.parse(it ?? 'null') as Json);
  const firsts: number[] = [];
  return values.map((value, n) => {
    const first = firsts.find((it) => isNear(values[it]!, value, near));
    if (first === undefined) firsts.push(n);
    return first ?? n;
  });
}

type Near = Extract<Comparator, { kind: 'numeric' }>;

function isNear(a: Json, b: Json, near: Near): boolean {
  if (typeof a === 'number' && typeof b === 'number') {
    const apart = Math.abs(a - b);
    return apart <= Math.max(near.tolerance, (near.relative ?? 0) * Math.max(Math.abs(a), Math.abs(b)));
  }
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isNear(memberOf(a, name), memberOf(b, name), near))
  );
}

const memberOf = (value: Json[] | { [key: string]: Json }, name: string): Json =>
  (value as { [key: string]: Json })[name]!;
