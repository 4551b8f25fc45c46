import { expect, test } from 'vitest';
import type { TaskClass } from '../tasks/store/classes.ts';
import { type Candidate, mismatch, preference } from './match.ts';

const agent = (it: Partial<Candidate>): Candidate => ({
  owner: 'o',
  serves: 'all',
  capabilities: ['echo'],
  labels: {},
  slots: 4,
  ...it,
});
const task = (it: Partial<TaskClass>): TaskClass => ({
  class_id: 1,
  owner: 'x',
  capability: 'echo',
  labels_required: {},
  labels_preferred: {},
  slot_cost: 1,
  verified: false,
  ...it,
});

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
  expect(mismatch(agent({ capabilities }), task({ capability }))).toBe(expected);
});

test.each([
  ['all', 'me', 'you', undefined],
  ['owner', 'me', 'me', undefined],
  ['owner', 'me', 'you', 'serves only tasks of me, not of you'],
])('an agent that serves %s, of %s, for a task of %s', (serves, owner, other, expected) => {
  expect(mismatch(agent({ owner, serves }), task({ owner: other }))).toBe(expected);
});

test('an agent must have every label that is required, with its value', () => {
  const labels_required = { zone: 'a', gpu: 'yes' };
  expect(mismatch(agent({ labels: { zone: 'a', gpu: 'yes', more: '1' } }), task({ labels_required }))).toBeUndefined();
  expect(mismatch(agent({ labels: { zone: 'a', gpu: 'no' } }), task({ labels_required }))).toBe(
    'has not the label gpu=yes',
  );
  expect(mismatch(agent({}), task({ labels_required }))).toBe('has not the label zone=a');
});

test('wishes are counted where there are any', () => {
  expect(preference(agent({ labels: { zone: 'a' } }), task({}))).toBeUndefined();
  const wishes = task({ labels_preferred: { zone: 'a', gpu: 'yes' } });
  expect(preference(agent({ labels: { zone: 'a', gpu: 'yes' } }), wishes)).toBe(2);
  expect(preference(agent({ labels: { zone: 'a' } }), wishes)).toBe(1);
  expect(preference(agent({}), wishes)).toBe(0);
});

test('an agent that has fewer slots than a task takes never may have it', () => {
  expect(mismatch(agent({ slots: 4 }), task({ slot_cost: 4 }))).toBeUndefined();
  expect(mismatch(agent({ slots: 3 }), task({ slot_cost: 4 }))).toBe('has 3 slots and not 4');
});
