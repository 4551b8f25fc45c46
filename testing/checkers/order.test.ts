import { describe, expect, test } from 'vitest';
import { history } from './made-up.ts';
import { checkCaps, checkFences, checkNeeds, checkReruns } from './order.ts';

const taken = (agent: string, ...runs: [task: string, fence: number, attempt?: number][]) =>
  [
    agent,
    'poll',
    {},
    'ok',
    { runs: runs.map(([task_id, fence, attempt = 1]) => ({ task_id, fence, attempt })) },
  ] as const;
const said = (agent: string, task_id: string, fence: number, applied: boolean | 'stale', outcome = 'COMPLETED') =>
  [
    agent,
    'result',
    { task_id, fence, outcome },
    ...(applied === 'stale' ? ['fail', 'stale-lease'] : ['ok', { applied }]),
  ] as Parameters<typeof history>[0];
const written = (...calls: (ReturnType<typeof taken> | ReturnType<typeof said>)[]) =>
  history(...(calls as Parameters<typeof history>));

describe('fences', () => {
  test('of words that come too late those that count are found, and all are counted', () => {
    const entries = (late: boolean | 'stale') =>
      written(taken('x', ['a', 1]), taken('y', ['a', 2, 2]), said('x', 'a', 1, late), said('y', 'a', 2, true));
    expect(checkFences(entries('stale'))).toMatchObject({ checked: 1, broken: [] });
    expect(checkFences(entries(true)).broken).toEqual(['the result of run 1 of a counted after run 2 was handed out']);
  });
  test('a word on its way while another is handed the task may count', () => {
    const entries = written(taken('x', ['a', 1]), said('x', 'a', 1, true), taken('y', ['a', 2, 2]));
    expect(checkFences(entries)).toMatchObject({ checked: 0, broken: [] });
  });
});

describe('what is handed out again', () => {
  const entries = written(taken('x', ['a', 1]), taken('y', ['a', 2, 2]));
  test('while its agent is there is found', () => {
    expect(checkReruns(entries).broken).toEqual(['a was handed to y as run 2 while x had run 1']);
  });
  test('from one that has done it, and is refused when it says so, is found', () => {
    const late = written(taken('x', ['a', 1]), said('x', 'a', 1, 'stale'), taken('y', ['a', 2, 2]));
    expect(checkReruns(late).broken).toHaveLength(1);
  });
  test('from one that fell silent, or said how it ended, is not', () => {
    expect(checkReruns(entries, { silent: new Set(['x']) })).toMatchObject({ checked: 2, broken: [] });
    const failed = written(taken('x', ['a', 1]), said('x', 'a', 1, true, 'FAILED'), taken('y', ['a', 2, 2]));
    expect(checkReruns(failed).broken).toEqual([]);
  });
  test('as the same run, to the same agent, is no other run', () => {
    expect(checkReruns(written(taken('x', ['a', 1]), taken('x', ['a', 1])))).toMatchObject({ checked: 1, broken: [] });
  });
});

test('a task that is handed out before what it needs is completed is found', () => {
  const needs = new Map([['b', ['a']]]);
  const good = written(taken('x', ['a', 1]), said('x', 'a', 1, true), taken('x', ['b', 2]));
  const early = written(taken('x', ['a', 1], ['b', 2]), said('x', 'a', 1, true));
  const failed = written(taken('x', ['a', 1]), said('x', 'a', 1, true, 'FAILED'), taken('x', ['b', 2]));
  expect(checkNeeds(good, needs)).toMatchObject({ checked: 1, broken: [] });
  for (const entries of [early, failed])
    expect(checkNeeds(entries, needs).broken).toEqual(['run 2 of b was handed out before a was completed']);
});

test('one too many at once is found, one after another is not', () => {
  const caps = { keysOf: () => ['k'], most: () => 1 };
  const together = written(
    taken('x', ['a', 1]),
    taken('y', ['b', 2]),
    said('x', 'a', 1, true),
    said('y', 'b', 2, true),
  );
  const after = written(taken('x', ['a', 1]), said('x', 'a', 1, true), taken('y', ['b', 2]), said('y', 'b', 2, true));
  expect(checkCaps(together, caps)).toMatchObject({ checked: 2, broken: ['with run 2 there were 2 of 1 of k'] });
  expect(checkCaps(after, caps)).toMatchObject({ checked: 2, broken: [] });
});
