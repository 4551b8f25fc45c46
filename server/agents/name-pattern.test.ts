import { expect, test } from 'vitest';
import { matchesPattern } from './name-pattern.ts';

test.each([
  ['*', ''],
  ['*', 'anything at all'],
  ['build-*', 'build-'],
  ['build-*', 'build-7'],
  ['*-eu', 'a-eu'],
  ['a*c', 'ac'],
  ['a*b*c', 'aXbYc'],
  ['a*b*c', 'abbc'],
  ['*a*', 'bab'],
  ['**', 'x'],
  ['exact', 'exact'],
  ['a.c (x)+', 'a.c (x)+'],
])('%j takes %j', (pattern, name) => {
  expect(matchesPattern(name, pattern)).toBe(true);
});

test.each([
  ['build-*', 'Build-7'],
  ['build-*', 'a build-7'],
  ['build-*', 'build'],
  ['*-eu', 'a-eu-x'],
  ['exact', 'exact '],
  ['aa*aa', 'aaa'],
  ['a*b*c', 'acb'],
  ['a.c', 'abc'],
  ['[ab]*', 'a'],
  ['build-*', 'build‑7'],
  ['', 'x'],
])('%j does not take %j', (pattern, name) => {
  expect(matchesPattern(name, pattern)).toBe(false);
});

test('no pattern takes long', () => {
  const began = process.cpuUsage();
  expect(matchesPattern('a'.repeat(100_000), `${'*a'.repeat(40_000)}*b`)).toBe(false);
  expect(process.cpuUsage(began).user / 1_000).toBeLessThan(1_000);
});
