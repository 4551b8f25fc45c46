import { expect, test } from 'vitest';
import { mismatch } from './match.ts';

test.each([
  ['the very capability', ['echo'], 'echo', undefined],
  ['one of several', ['a', 'echo'], 'echo', undefined],
  ['any version of one without', ['echo:v2'], 'echo', undefined],
  ['the very version', ['echo:v2'], 'echo:v2', undefined],
  ['not another version', ['echo:v1'], 'echo:v2', 'cannot do echo:v2'],
  ['not a version where none is said', ['echo'], 'echo:v2', 'cannot do echo:v2'],
  ['not one that begins alike', ['echo-long'], 'echo', 'cannot do echo'],
  ['not part of a version', ['echo:v21'], 'echo:v2', 'cannot do echo:v2'],
  ['nothing', [], 'echo', 'cannot do echo'],
])('%s', (_, capabilities, capability, expected) => {
  expect(mismatch({ owner: 'o', serves: 'all', capabilities }, { class_id: 1, owner: 'x', capability })).toBe(expected);
});

test.each([
  ['all', 'me', 'you', undefined],
  ['owner', 'me', 'me', undefined],
  ['owner', 'me', 'you', 'serves only tasks of me, not of you'],
])('an agent that serves %s, of %s, for a task of %s', (serves, owner, other, expected) => {
  expect(mismatch({ owner, serves, capabilities: ['echo'] }, { class_id: 1, owner: other, capability: 'echo' })).toBe(
    expected,
  );
});
