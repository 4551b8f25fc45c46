import fc from 'fast-check';
import { expect, test } from 'vitest';
import { durationMs, formatDuration } from './duration.ts';

test.each([
  ['3d', 259_200_000],
  ['12h', 43_200_000],
  ['1h30m', 5_400_000],
  ['30s', 30_000],
  ['2.5s', 2_500],
  ['250ms', 250],
  ['0s', 0],
  [1_500, 1_500],
])('%s is %d ms', (text, ms) => {
  expect(durationMs(text)).toBe(ms);
});

test.each(['', '5', 'm', '5 m', '-5m', '5m!', '5w', '1h 30m'])('%j is refused by name', (text) => {
  expect(() => durationMs(text)).toThrow(JSON.stringify(text));
});

test('what is written is read back the same', () => {
  fc.assert(fc.property(fc.nat({ max: 10 ** 12 }), (ms) => durationMs(formatDuration(ms)) === ms));
  expect(formatDuration(90_061_001)).toBe('1d1h1m1s1ms');
});
