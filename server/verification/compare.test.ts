import type { Comparator } from '@muster/shared/contract/verification';
import { expect, test } from 'vitest';
import { canonical } from './canonical.ts';
import { equalIn } from './checker.ts';
import { firstEqual } from './compare.ts';

const equal = (comparator: Comparator, ...answers: unknown[]) =>
  firstEqual(
    answers.map((it) => (it === undefined ? null : JSON.stringify(it))),
    comparator,
  );

test('the canonical form is that of RFC 8785', () => {
  // Its own example, 3.2.2, and names sorted by UTF-16 code units, 3.2.3.
  expect(
    canonical(
      JSON.parse(
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}',
      ),
    ),
  ).toBe(
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
  const names = ['\u20ac', '\r', '\ufb33', '1', '\u{1f600}', '\u0080', '\u00f6'];
  const sorted = ['\r', '1', '\u0080', '\u00f6', '\u20ac', '\u{1f600}', '\ufb33'];
  const object = (of: readonly string[]) => `{${of.map((name) => `${JSON.stringify(name)}:0`).join()}}`;
  expect(canonical(Object.fromEntries(names.map((name) => [name, 0])))).toBe(object(sorted));
});

test('exact answers are the same text; nothing is no answer', () => {
  const exact = { kind: 'exact' } as const;
  expect(equal(exact, 'x', 'y', 'x', undefined, undefined)).toEqual([0, 1, 0, 3, 3]);
  expect(equal(exact, { a: 1, b: 2 }, { b: 2, a: 1 })).toEqual([0, 1]);
});

test('as JSON only the order of names and the notation of numbers may differ', () => {
  const json = { kind: 'json' } as const;
  expect(equal(json, { a: 1, b: [1, 2] }, { b: [1, 2], a: 1 }, { a: 1, b: [2, 1] }, { a: '1', b: [1, 2] })).toEqual([
    0, 0, 2, 3,
  ]);
});

test('numbers are near, or not; all else is the same', () => {
  const near = (tolerance: number, relative?: number): Comparator => ({
    kind: 'numeric',
    tolerance,
    ...(relative === undefined ? {} : { relative }),
  });
  expect(equal(near(0.5), 1, 1.5, 1.6, 2)).toEqual([0, 0, 2, 2]);
  expect(equal(near(0, 0.1), 100, 90, 89, -100)).toEqual([0, 0, 2, 3]);
  expect(
    equal(near(1), { x: 1, s: 'a' }, { x: 2, s: 'a' }, { x: 1, s: 'b' }, { x: 1 }, [1], { x: 1, s: 'a', t: 0 }),
  ).toEqual([0, 0, 2, 3, 4, 5]);
  expect(equal(near(1), null, undefined, 0, { y: 1 }, { __proto__: null })).toEqual([0, 0, 2, 3, 4]);
});

test('what a checker says counts where it names each answer once, and tells apart none that are the same', () => {
  const others = [0, 1, 2];
  expect(equalIn('{"equal":[[0,2],[1]]}', others)).toEqual([0, 1, 0]);
  expect(equalIn('{"equal":[[2],[1,0]],"because":"…"}', others)).toEqual([0, 0, 2]);
  expect(equalIn('{"equal":[[1],[2,0]]}', [0, 1, 0])).toEqual([0, 1, 0]);
  for (const said of ['{"equal":[[0],[1,2]]}', '{"equal":[[0],[1],[2]]}'])
    expect(equalIn(said, [0, 1, 0])).toBeUndefined();
  const nonsense = [
    null,
    '1',
    '{}',
    '{"equal":[[0],[1]]}',
    '{"equal":[[0,1,3]]}',
    '{"equal":[[0,1],[1,2]]}',
    '{"equal":[[0,1,2],[]]}',
  ];
  for (const said of [...nonsense, JSON.stringify({ equal: [Array(300_000).fill(0)] })])
    expect(equalIn(said, others)).toBeUndefined();
});
