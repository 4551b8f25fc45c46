import { expect, test } from 'vitest';
import { Ring } from './ring.ts';

test('a ring lies of what two of it have, and who comes later says what was said before', () => {
  const ring = new Ring();
  for (const [taskId, name] of [
    ['shared', 'a'],
    ['shared', 'b'],
    ['alone', 'a'],
    ['again', 'a'],
    ['again', 'a'],
  ] as const)
    ring.join(taskId, name);
  expect(['shared', 'alone', 'again'].map((taskId) => ring.lies(taskId, 'together'))).toEqual([true, false, false]);
  ring.join('alone', 'b');
  expect(ring.lies('alone', 'together')).toBe(false);
  expect(ring.lies('other', 'always')).toBe(true);
});
