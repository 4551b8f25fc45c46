import { describe, expect, test } from 'vitest';
import { checked, newcomer } from './model.ts';
import { canaryProbability, type Known, looksFurther, mayWork, replicationProbability, vouches } from './scrutiny.ts';

const trustedAfter = (checks: number): Known => {
  let trust = newcomer(0);
  for (let n = 0; n < checks; n += 1) trust = checked(trust, { found: 'RIGHT', vouched: true }, 0);
  return { ...trust, anchor: false };
};

describe('how closely an agent is looked at', () => {
  test('always until it is trusted, then less and less, never below the floor', () => {
    const probabilities = [0, 9, 10, 15, 25, 50, 500].map((checks) => replicationProbability(trustedAfter(checks)));
    expect(probabilities.slice(0, 2)).toEqual([1, 1]);
    expect(probabilities[2]).toBeCloseTo(2 / (trustedAfter(10).right + 2), 12);
    expect(probabilities).toEqual([...probabilities].sort((a, b) => b - a));
    expect(probabilities.slice(-2)).toEqual([0.05, 0.05]);
  });

  test('more again with doubt: one whose checks have faded is replicated as often as one that has few', () => {
    const faded = { ...trustedAfter(500), right: 5 };
    expect(replicationProbability(faded)).toBeCloseTo(2 / 7, 12);
  });

  test('after a fault always, until it is trusted again', () => {
    const caught = checked({ ...newcomer(0), ...trustedAfter(100), standing: 'TRUSTED' }, { found: 'WRONG' }, 0);
    expect(replicationProbability({ ...caught, anchor: false })).toBe(1);
  });

  test('an anchor is neither replicated nor tried, and vouches', () => {
    const anchor = { ...trustedAfter(0), anchor: true };
    expect([replicationProbability(anchor), canaryProbability(anchor), vouches(anchor)]).toEqual([0, 0, true]);
  });

  test('the quarantined and the banned get no work and vouch for nobody', () => {
    const standings = ['NEWCOMER', 'TRUSTED', 'PROBATION', 'QUARANTINED', 'BANNED'] as const;
    expect(standings.filter((standing) => mayWork({ standing }))).toEqual(['NEWCOMER', 'TRUSTED', 'PROBATION']);
    expect(standings.filter((standing) => vouches({ anchor: false, standing }))).toEqual(['TRUSTED']);
  });

  test('a look back ends after enough that were right in a row, or so many at all', () => {
    expect([
      looksFurther(0, 0),
      looksFurther(60, 39),
      looksFurther(60, 40),
      looksFurther(199, 0),
      looksFurther(200, 0),
    ]).toEqual([true, true, false, true, false]);
  });
});
