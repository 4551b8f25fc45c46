import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProblemError } from '@muster/shared/errors';
import { expect, test } from 'vitest';
import { History } from './history.ts';
import { scratchFolder } from './scratch.ts';

test('a history tells what was done, what was not and what nobody knows, and is in its file at once', async () => {
  const scratch = scratchFolder('history');
  const file = join(scratch.path, 'history.jsonl');
  const history = new History(file);
  await history.call('c', 'submit', { n: 1 }, async () => ({ task_id: 'a' }));
  const refused = history.call('c', 'submit', { n: 2 }, () => Promise.reject(new ProblemError('conflict', 'no')));
  await expect(refused).rejects.toThrow('no');
  for (const lost of [new ProblemError('overloaded', 'later'), new TypeError('fetch failed')])
    await expect(history.call('c', 'submit', {}, () => Promise.reject(lost))).rejects.toBe(lost);
  expect(history.entries.map(({ call, phase }) => [call, phase])).toEqual([
    [1, 'invoke'],
    [1, 'ok'],
    [2, 'invoke'],
    [2, 'fail'],
    [3, 'invoke'],
    [3, 'unknown'],
    [4, 'invoke'],
    [4, 'unknown'],
  ]);
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual(history.entries);
  scratch.remove();
});
