import type { Overlap } from '@muster/shared/contract/schedule-rule';
import { expect, test } from 'vitest';
import { takeTurns } from './overlap.ts';

test.each([
  ['SKIP', [], ['a', null, null]],
  ['SKIP', ['o'], [null, null, null]],
  ['BUFFER_ONE', [], ['a', 'b after a', null]],
  ['BUFFER_ONE', ['o'], ['a after o', null, null]],
  ['BUFFER_ONE', ['waits', 'runs'], [null, null, null]],
  ['BUFFER_ALL', [], ['a', 'b after a', 'c after b']],
  ['BUFFER_ALL', ['waits', 'runs'], ['a after waits', 'b after a', 'c after b']],
  ['CANCEL_OTHER', ['o'], [null, null, 'c']],
  ['ALLOW_ALL', ['o', 'p'], ['a', 'b', 'c']],
] as [Overlap, string[], (string | null)[]][])(
  '%s with %j open gives three due times their turns',
  (overlap, open, turns) => {
    const said = takeTurns(overlap, open, ['a', 'b', 'c']).map(
      (turn) => turn && (turn.needs ? `${turn.task_id} after ${turn.needs}` : turn.task_id),
    );
    expect(said).toEqual(turns);
  },
);
