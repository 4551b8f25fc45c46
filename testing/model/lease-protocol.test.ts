import { describe, expect, test } from 'vitest';
import { explore } from './explore.ts';
import { leaseProtocol, MUSTER, type Rules } from './lease-protocol.ts';

describe('the lease protocol, two coordinators, two agents, one task, three attempts', () => {
  test('keeps every promise in every state, and every state can end', () => {
    const { states, steps, counterexample } = explore(leaseProtocol());
    expect(counterexample).toBeUndefined();
    // A model in which little happens would keep its promises too.
    expect(states).toBeGreaterThan(300_000);
    expect(steps).toBeGreaterThan(5 * states);
  }, 180_000);

  test.each<[string, Partial<Rules>, string]>([
    ['without a fence a late result is taken', { guard: 'none' }, 'the late result of run 1 was taken'],
    [
      'a look at the state alone takes the result of another attempt',
      { guard: 'state' },
      'the late result of run 1 was taken',
    ],
    ['the right agent may speak of the wrong attempt', { guard: 'agent' }, 'the late result of run 1 was taken'],
    ['an acknowledgement before the row loses tasks', { ackFirst: true }, 'an acknowledged submit is lost'],
    [
      'a lease taken away without a second look undoes a result',
      { reapUnseen: true },
      'a COMPLETED task was queued again',
    ],
  ])('%s', (_, rules, broken) => {
    const { counterexample } = explore(leaseProtocol({ ...MUSTER, ...rules }));
    expect(counterexample?.broken).toBe(broken);
    expect(counterexample?.trace.length).toBeGreaterThan(2);
  });
});
