import { expect, test } from 'vitest';
import { type TaskClass, UNSAID } from '../tasks/store/classes.ts';
import type { Shown } from '../trust/shown.ts';
import { type Candidate, mismatch, preference } from './match.ts';

const agent = (it: Partial<Candidate>): Candidate => ({
  owner: 'o',
  serves: 'all',
  capabilities: ['echo'],
  labels: {},
  slots: 4,
  shown: new Map(),
  ...it,
});
const task = (it: Partial<TaskClass>): TaskClass => ({
  class_id: 1,
  owner: 'x',
  capability: 'echo',
  ...UNSAID,
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

const shown = (it: Partial<Shown>, capability = 'echo') => ({
  shown: new Map([
    [capability, { dependable: 0, undependable: 0, right: 0, wrong: 0, standing: 'NEWCOMER' as const, ...it }],
  ]),
});
/** What makes a score of so much. */
const scoring = (score: number) => shown({ dependable: (2 * score - 1) / (1 - score) });

test.each([
  ['a newcomer at the bound', {}, 0.5, undefined],
  ['a newcomer below it', {}, 0.51, 'trust 0.5 is below 0.51'],
  ['one just below a bound', scoring(0.7999999), 0.8, 'trust 0.7999999 is below 0.8'],
  ['one far below it', scoring(0.612345), 0.8, 'trust 0.61 is below 0.8'],
  ['one below it by rounding only', scoring(0.796), 0.8, 'trust 0.796 is below 0.8'],
  ['one just above it', scoring(0.8000001), 0.8, undefined],
  ['one that is sure', scoring(0.999), 1, 'trust 0.999 is below 1'],
  ['one that is good at something else', shown({ dependable: 30 }, 'other'), 0.6, 'trust 0.5 is below 0.6'],
  ['one that is good at a version', shown({ dependable: 30 }, 'echo:v2'), 0.6, 'trust 0.5 is below 0.6'],
  ['one that lied', shown({ dependable: 99, right: 5, wrong: 3 }), 0.8, 'trust 0.74 is below 0.8'],
])('a gate of trust, and %s', (_, it, min_trust, expected) => {
  expect(mismatch(agent(it), task({ min_trust }))).toBe(expected);
});

test('a gate of integrity compares what is certain of it', () => {
  const of = (right: number, wrong = 0) => agent(shown({ right, wrong }));
  expect(mismatch(of(10), task({ min_integrity: 0.75 }))).toBeUndefined();
  expect(mismatch(of(10), task({ min_integrity: 0.8 }))).toBe('integrity 0.76 is below 0.8');
  expect(mismatch(of(30, 3), task({ min_integrity: 0.8 }))).toBe('integrity 0.79 is below 0.8');
  expect(mismatch(agent({}), task({ min_integrity: 0.1 }))).toBe('integrity 0.05 is below 0.1');
});

test.each(['QUARANTINED', 'BANNED'] as const)('one that is %s in a capability may do others', (standing) => {
  const it = agent({ ...shown({ standing }), capabilities: ['echo', 'other'] });
  expect(mismatch(it, task({}))).toBe(`is ${standing} in echo`);
  expect(mismatch(it, task({ capability: 'other' }))).toBeUndefined();
  const out = agent({ ...shown({ standing }, '*') });
  expect(mismatch(out, task({}))).toBe(`is ${standing} in echo`);
});
