import { describe, expect, test } from 'vitest';
import { history } from './checkers/made-up.ts';
import { assertFindings, checkCancels, checkClaims, checkResults, checkSubmits } from './checkers.ts';

const run = (task_id: string, fence: number, attempt = 1) => ({ task_id, fence, attempt });
const completed = (task_id: string, fence: number) => ({ task_id, fence, outcome: 'COMPLETED' });

describe('submits', () => {
  test('an acknowledged task must be there and have ended; of others nothing is said', () => {
    const entries = history(
      ['c', 'submit', {}, 'ok', { task_id: 'a' }],
      ['c', 'submit', {}, 'ok', { task_id: 'b' }],
      ['c', 'submit', {}, 'ok', { task_id: 'c' }],
      ['c', 'submit', {}, 'unknown', 'reset'],
      ['c', 'submit', {}, 'silence'],
    );
    const { checked, broken } = checkSubmits(
      entries,
      new Map([
        ['a', 'COMPLETED'],
        ['b', 'RUNNING'],
      ]),
    );
    expect(checked).toBe(3);
    expect(broken).toEqual(['b is still RUNNING', 'c was acknowledged and is lost']);
  });
});

describe('claims', () => {
  test('the same run may be told to its holder again', () => {
    const entries = history(
      ['x', 'poll', {}, 'ok', { runs: [run('a', 1)] }],
      ['x', 'poll', {}, 'ok', { runs: [run('a', 1)] }],
    );
    expect(checkClaims(entries)).toMatchObject({ checked: 2, broken: [] });
  });
  test('two holders of one run, and an attempt that does not rise, are found', () => {
    const entries = history(
      ['x', 'poll', {}, 'ok', { runs: [run('a', 1)] }],
      ['y', 'poll', {}, 'ok', { runs: [run('a', 1)] }],
      ['x', 'poll', {}, 'ok', { runs: [run('b', 2, 2)] }],
      ['y', 'poll', {}, 'ok', { runs: [run('b', 3, 2)] }],
    );
    expect(checkClaims(entries).broken).toHaveLength(3);
  });
});

describe('results', () => {
  test('a replay is not a second application', () => {
    const entries = history(
      ['x', 'result', completed('a', 1), 'ok', { applied: true }],
      ['x', 'result', completed('a', 1), 'ok', { applied: false }],
      ['y', 'result', completed('a', 2), 'fail', 'stale-lease'],
    );
    expect(checkResults(entries)).toMatchObject({ checked: 2, broken: [] });
  });
  test('a result applied twice and a task completed twice are found', () => {
    const entries = history(
      ['x', 'result', completed('a', 1), 'ok', { applied: true }],
      ['x', 'result', completed('a', 1), 'ok', { applied: true }],
      ['y', 'result', completed('a', 2), 'ok', { applied: true }],
    );
    expect(checkResults(entries).broken).toEqual([
      'the result of run 1 was applied twice',
      'a was completed by run 1 and by run 1',
      'a was completed by run 1 and by run 2',
    ]);
  });
});

test('of a task that others check there may be more runs at once, but each has one holder and is applied once', () => {
  const entries = history(
    ['c', 'submit', { verified: true }, 'ok', { task_id: 'a' }],
    ['x', 'poll', {}, 'ok', { runs: [run('a', 1)] }],
    ['y', 'poll', {}, 'ok', { runs: [run('a', 2)] }],
    ['x', 'result', completed('a', 1), 'ok', { applied: true }],
    ['y', 'result', completed('a', 2), 'ok', { applied: true }],
  );
  expect([checkClaims(entries), checkResults(entries)]).toMatchObject([{ broken: [] }, { broken: [] }]);
  const again = [...entries, ...history(['z', 'poll', {}, 'ok', { runs: [run('a', 2)] }])];
  expect(checkClaims(again).broken).toEqual(['run 2 was handed to y and to z']);
  const twice = [...entries, ...history(['y', 'result', completed('a', 2), 'ok', { applied: true }])];
  expect(checkResults(twice).broken).toEqual(['the result of run 2 was applied twice']);
});

test('a completion of what was cancelled is found, one that was refused is not', () => {
  const after = (phase: 'ok' | 'fail', answer: unknown) =>
    checkCancels(
      history(['c', 'cancel', {}, 'ok', { task_id: 'a' }], ['x', 'result', completed('a', 1), phase, answer]),
    );
  expect(after('ok', { applied: true }).broken).toEqual(['a was cancelled, and completed by run 1']);
  expect(after('fail', 'task-terminal')).toMatchObject({ checked: 1, broken: [] });
});

test('an empty run does not pass', () => {
  expect(() => assertFindings([checkResults([])])).toThrow('only 0 operations were checked, at least 1 were to be');
});
