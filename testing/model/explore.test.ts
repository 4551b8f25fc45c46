import { expect, test } from 'vitest';
import { explore, type Model } from './explore.ts';

/** A walk over numbers. */
const walk = (over: Partial<Model<number>>): Model<number> => ({
  initial: 0,
  key: String,
  steps: function* (n) {
    if (n < 10) yield [() => `${n} + 1`, n + 1];
    if (n < 9) yield [() => `${n} + 2`, n + 2];
  },
  broken: () => undefined,
  ended: (n) => n === 10,
  ...over,
});

test('every state is looked at once', () => {
  expect(explore(walk({}))).toEqual({ states: 11, steps: 19, depth: 5, counterexample: undefined });
});

test('a broken promise comes with the shortest way to it', () => {
  const { counterexample } = explore(walk({ broken: (n) => (n === 5 ? 'five' : undefined) }));
  expect(counterexample?.broken).toBe('five');
  expect(counterexample?.trace).toHaveLength(3);
});

test('a state that can never end is a counterexample', () => {
  const { counterexample } = explore(
    walk({
      steps: function* (n) {
        if (n < 10) yield [() => `${n} + 1`, n + 1];
        if (n === 3) yield [() => 'astray', 99];
      },
    }),
  );
  expect(counterexample).toEqual({
    broken: 'it can never end from here',
    trace: ['0 + 1', '1 + 1', '2 + 1', 'astray'],
  });
});

test('a model that is too large is not looked at by half', () => {
  expect(() => explore(walk({}), { maxStates: 5 })).toThrow('more than 5 states');
});
