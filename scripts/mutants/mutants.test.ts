import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { edited } from './mutant.ts';
import { MUTANTS } from './seeded.ts';
import { outcomeOf } from './tests.ts';

const textOf = (file: string) => readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), 'utf8');

describe('the seeded bugs', () => {
  test.each(MUTANTS)('$name: fits the code as it is, and is caught by tests there are', ({ name, edits, caughtBy }) => {
    const texts = new Map(edits.map(({ file }) => [file, textOf(file)]));
    for (const edit of edits) texts.set(edit.file, edited(texts.get(edit.file)!, edit, name));
    expect(caughtBy).not.toEqual([]);
    for (const { file, test } of caughtBy) expect(textOf(file)).toContain(test);
  });

  test('are fourteen, each by its own name', () => {
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(14);
  });
});

test('an edit that does not fit, or fits twice, is an error that says so', () => {
  const edit = { file: 'a.ts', find: 'x', replace: 'y' };
  expect(edited('a x b', edit, 'm')).toBe('a y b');
  expect(() => edited('a b', edit, 'm')).toThrow('mutant "m": in a.ts this is not there any more');
  expect(() => edited('x x', edit, 'm')).toThrow('mutant "m": in a.ts this is there 2 times');
});

test('only a test that ran and failed has caught a bug: one that is not there, or that its file did not come to, has not', () => {
  const named = { file: 'a.test.ts', test: 'it holds' };
  const reported = (status: string, message = '') => ({
    name: 'a.test.ts',
    message,
    assertionResults: [{ fullName: 'a it holds', status, failureMessages: status === 'failed' ? ['no\nmore'] : [] }],
  });
  const found = (result: Parameters<typeof outcomeOf>[1], it = named) => {
    const { status, why } = outcomeOf(it, result);
    return [status, why];
  };
  expect(found(reported('failed'))).toEqual(['failed', 'no']);
  expect(found(reported('passed'))).toEqual(['passed', '']);
  expect(found(reported('skipped', 'its world did not start'))).toEqual(['not run', 'its world did not start']);
  for (const result of [undefined, reported('failed')])
    expect(found(result, { ...named, test: 'another' })).toEqual(['not run', 'there is no such test']);
});
