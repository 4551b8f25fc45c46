import { expect, test } from 'vitest';
import { refuseChanged } from './if-match.ts';

const outcome = (ifMatch: string | undefined, version = 3): string => {
  try {
    refuseChanged(ifMatch, 'thing x', version);
    return 'fine';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test.each([
  [undefined, 'fine'],
  ['*', 'fine'],
  [' * ', 'fine'],
  ['"3"', 'fine'],
  ['"1", "3"', 'fine'],
  ['"1","2",, "3" ,', 'fine'],
  ['W/"1", "3"', 'fine'],
  ['"a,b", "3"', 'fine'],
  ['"4"', 'precondition-failed'],
  ['W/"3"', 'precondition-failed'],
  ['"03"', 'precondition-failed'],
  ['"1", "2"', 'precondition-failed'],
  ['""', 'precondition-failed'],
  ['3', 'validation-failed'],
  ['"3', 'validation-failed'],
  ['"3" "4"', 'validation-failed'],
  ['*, "3"', 'validation-failed'],
  ['w/"3"', 'validation-failed'],
  ['', 'validation-failed'],
  [',', 'validation-failed'],
])('If-Match %s of version "3": %s', (header, expected) => expect(outcome(header)).toBe(expected));

test('a long header is looked at in no time', () => {
  const since = process.cpuUsage();
  for (const part of ['"', 'W/', ',', ' ', '"a" ', '"a",'])
    expect(outcome(`${part.repeat(8_000)}x`)).toBe('validation-failed');
  expect(process.cpuUsage(since).user / 1_000).toBeLessThan(300);
});
