import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bestFirst, firstOf, Line, SAMPLE } from './line.ts';

const lineOf = (n: number) => {
  const line = new Line<number>();
  for (let it = 0; it < n; it += 1) line.add(it);
  return line;
};

test('whoever was looked at stands at the end', () => {
  const line = lineOf(5);
  expect(firstOf(2, line.round())).toEqual([0, 1]);
  expect([...line]).toEqual([2, 3, 4, 0, 1]);
  line.add(5);
  expect(firstOf(4, line.round())).toEqual([2, 3, 4, 0]);
  expect([...line.round()]).toEqual([1, 5, 2, 3, 4, 0]);
  line.toEnd([5, 9, 1]);
  expect([...line]).toEqual([2, 3, 4, 0, 5, 1]);
});

test('it is what a list would be, whatever is done to it', () => {
  const step = fc.record({
    do: fc.constantFrom('add', 'add', 'delete', 'look', 'toEnd'),
    it: fc.nat(9),
    n: fc.nat(12),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const line = new Line<number>();
      let list: number[] = [];
      for (const { do: what, it, n } of steps) {
        const others = list.filter((other) => other !== it);
        if (what === 'add' && others.length === list.length) {
          line.add(it);
          list.push(it);
        } else if (what === 'delete') {
          expect(line.delete(it)).toBe(others.length < list.length);
          list = others;
        } else if (what === 'toEnd') {
          line.toEnd([it]);
          if (others.length < list.length) list = [...others, it];
        } else if (n > 0) {
          const looked = firstOf(n, line.round());
          expect(looked).toEqual(list.slice(0, n));
          list = [...list.slice(n), ...list.slice(0, n)];
        }
        expect([...line]).toEqual(list);
        expect(line.size).toBe(list.length);
      }
    }),
  );
});

test('the best of those that are next go first, of equals who came first, and each is ranked once', () => {
  let ranked = 0;
  const rankOf = (it: number) => {
    ranked += 1;
    return -(it % 10);
  };
  const few = lineOf(12);
  expect([...bestFirst(few.round(), rankOf)]).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 11, 0, 10]);
  expect([...few]).toEqual([...lineOf(12)]);
  ranked = 0;
  const many = lineOf(100);
  const order = [...bestFirst(many.round(), rankOf)];
  expect(new Set(order).size).toBe(100);
  expect(ranked).toBe(100);
  ranked = 0;
  expect(firstOf(1, bestFirst(many.round(), rankOf))).toEqual([9]);
  expect(ranked).toBe(SAMPLE);
  expect([...many][0]).toBe(SAMPLE);
});
