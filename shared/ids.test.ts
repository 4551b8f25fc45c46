import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fenceOf, idPattern, newId, runIdOf } from './ids.ts';

test('ids look as they should, differ, and sort by their age', () => {
  const ids = Array.from({ length: 5_000 }, () => newId('task'));
  expect(new Set(ids).size).toBe(5_000);
  expect([...ids].sort()).toEqual(ids);
  for (const id of ids.slice(0, 100)) expect(id).toMatch(idPattern('task'));
  expect(newId('agent')).toMatch(idPattern('agent'));
  expect(newId('agent')).not.toMatch(idPattern('task'));
});

test('a run id is its fence and back, to the last whole number; the order is the same', () => {
  const fence = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 1, 31, 32, 2 ** 32, 2 ** 53 - 1, 2 ** 53));
  fc.assert(
    fc.property(fence, fence, (a, b) => {
      expect(fenceOf(runIdOf(a))).toBe(a);
      expect(runIdOf(a)).toMatch(idPattern('run'));
      expect(runIdOf(a) < runIdOf(b)).toBe(a < b);
      expect(runIdOf(String(a))).toBe(runIdOf(BigInt(a)));
    }),
  );
});
