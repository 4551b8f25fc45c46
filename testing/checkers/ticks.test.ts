import { expect, test } from 'vitest';
import { history } from './made-up.ts';
import { checkTicks } from './ticks.ts';

const due = new Map([['s', [1_000, 2_000, 3_000]]]);
const fired = (...times: number[]) =>
  checkTicks(
    history(...times.map((at) => ['x', 'fire', {}, 'ok', { schedule_id: 's', at }] as Parameters<typeof history>[0])),
    due,
    { windowMs: 900 },
  );

test('each due time takes one firing of its window, the first there is', () => {
  expect(fired(1_000, 2_100, 3_400)).toEqual({
    promise: 'each due time fires once and in time',
    checked: 3,
    broken: [],
  });
  expect(fired(1_800, 2_300, 3_000).broken, 'late, and still in time').toEqual([]);
});

test.each([
  ['one that is missing', [1_000, 3_000], ['s was due at 2000 and did not fire until 3000']],
  ['one too many', [1_000, 1_000, 2_000, 3_000], ['s fired at 1000 for nothing']],
  [
    'one that is early',
    [900, 2_000, 3_000],
    ['s fired at 900 for nothing', 's was due at 1000 and did not fire until 2000'],
  ],
  ['one that is late', [2_600, 3_400, 4_400], ['s was due at 1000 and did not fire until 2600']],
] as [string, number[], string[]][])('%s is found', (_, times, words) => {
  const { broken } = fired(...times);
  for (const word of words)
    expect(
      broken.some((it) => it.startsWith(word)),
      `${word} in ${broken}`,
    ).toBe(true);
});

test('a firing of a schedule that is not due at all is found', () => {
  expect(
    checkTicks(history(['x', 'fire', {}, 'ok', { schedule_id: 't', at: 1 }]), new Map(), { windowMs: 1 }).broken,
  ).toEqual(['t fired at 1 for nothing']);
});
