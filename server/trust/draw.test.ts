import { seededRandom } from '@muster/testing/random';
import { describe, expect, test } from 'vitest';
import { drawBeta, drawUtility } from './draw.ts';
import { trustScore } from './score.ts';

const DRAWS = 40_000;
const drawn = (draw: (random: () => number) => number) => {
  const random = seededRandom(7);
  return Array.from({ length: DRAWS }, () => draw(random));
};
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('draws', () => {
  test.each([
    [1, 1],
    [0.5, 0.5],
    [4.2, 0.3],
    [34, 1],
    [2, 9],
  ])('of Beta(%f, %f) have its mean and variance', (a, b) => {
    const values = drawn((random) => drawBeta(a, b, random));
    const variance = (a * b) / ((a + b) ** 2 * (a + b + 1));
    expect(values.every((value) => value >= 0 && value <= 1)).toBe(true);
    // Five standard errors of a mean; the spread of a variance is wider.
    expect(Math.abs(mean(values) - a / (a + b))).toBeLessThan(5 * Math.sqrt(variance / DRAWS));
    expect(mean(values.map((value) => (value - a / (a + b)) ** 2)) / variance).toBeCloseTo(1, 1);
  });

  test('of Beta(2, 3) are spread as its distribution function says (chi-square over ten parts)', () => {
    const below = (x: number) => 6 * x ** 2 - 8 * x ** 3 + 3 * x ** 4;
    const values = drawn((random) => drawBeta(2, 3, random));
    const parts = Array.from({ length: 10 }, (_, n) => {
      const expected = DRAWS * (below((n + 1) / 10) - below(n / 10));
      return (values.filter((value) => Math.floor(value * 10) === n).length - expected) ** 2 / expected;
    });
    // The 0.999 quantile with nine degrees of freedom.
    expect(parts.reduce((sum, part) => sum + part)).toBeLessThan(27.88);
  });

  test('of usefulness have the shown score as their mean', () => {
    for (const trust of [
      { dependable: 0, undependable: 0, right: 0, wrong: 0 },
      { dependable: 20, undependable: 3, right: 12, wrong: 3 },
    ])
      expect(mean(drawn((random) => drawUtility(trust, random)))).toBeCloseTo(trustScore(trust, trust), 2);
  });
});
