import { describe, expect, test } from 'vitest';
import { checkAnswers, checkBatches, checkOnce, checkPages, checkReplays, checkTimes } from './answers.ts';
import { history } from './made-up.ts';

test('a request that made two tasks, and a task of two requests, are found', () => {
  const submit = (idempotency_key: string | undefined, task_id: string) =>
    ['c', 'submit', idempotency_key ? { idempotency_key } : {}, 'ok', { task_id }] as const;
  expect(checkOnce(history([...submit('k', 'a')], [...submit('k', 'a')], [...submit(undefined, 'b')]))).toMatchObject({
    checked: 2,
    broken: [],
  });
  expect(checkOnce(history([...submit('k', 'a')], [...submit('k', 'b')], [...submit('l', 'a')])).broken).toEqual([
    'the request k made a and b',
    'a was made by the requests k and l',
  ]);
});

describe('a batch', () => {
  const asked = { key: 'k', size: 2 };
  const found = (call: Parameters<typeof history>[0], ...there: string[]) =>
    checkBatches(history(call), new Map([['k', there]])).broken;
  const acknowledged: Parameters<typeof history>[0] = ['c', 'batch', asked, 'ok', { task_ids: ['a', 'b'] }];
  test('that is there as it was acknowledged, or of which nobody knows and that is whole or away, is good', () => {
    expect(found(acknowledged, 'a', 'b')).toEqual([]);
    for (const there of [[], ['a', 'b']])
      expect(found(['c', 'batch', asked, 'unknown', 'reset'], ...there)).toEqual([]);
  });
  test('that is there in part, in another order, or though it was refused is found', () => {
    expect(found(acknowledged, 'b', 'a')).toEqual(['batch k was acknowledged as other tasks than are there']);
    expect(found(['c', 'batch', asked, 'silence'], 'a')).toEqual(['of batch k 1 of 2 are there']);
    expect(found(['c', 'batch', asked, 'fail', 'conflict'], 'a', 'b')).toEqual([
      'batch k was refused, and 2 of it are there',
    ]);
  });
});

test('what was refused, lost or never answered is found, but for what may be refused', () => {
  const entries = history(
    ['c', 'submit', {}, 'ok', {}],
    ['c', 'submit', {}, 'unknown', 'overloaded'],
    ['c', 'submit', {}, 'silence'],
    ['x', 'beat', {}, 'fail', 'invalid-token'],
  );
  expect(checkAnswers(entries, ['submit', 'beat'])).toMatchObject({
    checked: 4,
    broken: [
      'a submit by c was unknown: overloaded',
      'a submit by c was never answered',
      'a beat by x was fail: invalid-token',
    ],
  });
  expect(checkAnswers(entries, ['submit'], { allowed: ['overloaded'] }).broken).toEqual([
    'a submit by c was never answered',
  ]);
});

test('answers that are too slow are found by their share', () => {
  const slow = (n: number) =>
    history(...Array.from({ length: 100 }, () => ['x', 'beat', {}, 'ok', {}] as Parameters<typeof history>[0])).map(
      (entry) => (entry.phase === 'ok' && entry.call < n ? { ...entry, at: entry.at + 500 } : entry),
    );
  expect(checkTimes(slow(1), 'beat', { mostMs: 100 })).toMatchObject({ checked: 100, broken: [] });
  expect(checkTimes(slow(2), 'beat', { mostMs: 100 }).broken).toEqual(['the 99th of a hundred took 501 ms, not 100']);
});

test('what was missed or seen twice over the pages of a list is found', () => {
  const read = (...pages: string[][]) =>
    checkPages(
      history(...pages.map((ids) => ['reader', 'page', {}, 'ok', { ids }] as Parameters<typeof history>[0])),
      new Set(['a', 'b']),
    );
  expect(read(['a', 'new'], ['b'])).toMatchObject({ checked: 3, broken: [] });
  expect(read(['a'], ['a']).broken).toEqual(['reader saw 1 twice', 'reader did not see b']);
});

test('a score that its evidence does not explain is found, and one that cannot be told', () => {
  const replay = (difference: number | null) => history(['c', 'replay', 'agent_x', 'ok', { difference }]);
  expect(checkReplays(replay(1e-13))).toMatchObject({ checked: 1, broken: [] });
  expect(checkReplays(replay(0.1)).broken).toEqual(['"agent_x" differs by 0.1']);
  expect(checkReplays(replay(null)).broken).toHaveLength(1);
});
