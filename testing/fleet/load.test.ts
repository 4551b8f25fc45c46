import { expect, test } from 'vitest';
import { seededRandom } from '../random.ts';
import { dueAfter, offer, secondsOf } from './load.ts';
import { castOf, persona } from './persona.ts';
import { lognormalMs } from './random.ts';

test('phases are the integral of their rates', () => {
  const phases = [
    { seconds: 10, from: 0, to: 100 },
    { seconds: 5, tasks_per_second: 100 },
    { seconds: 0, tasks_per_second: 1_000 },
    { seconds: 10, from: 100, to: 0 },
  ];
  expect(secondsOf(phases)).toBe(25);
  expect([0, 5, 10, 15, 20, 25, 99].map((at) => dueAfter(phases, at))).toEqual([
    0, 125, 500, 1_000, 1_375, 1_500, 1_500,
  ]);
});

test('a load is offered whole, and its first failure ends it', async () => {
  const signal = new AbortController().signal;
  const options = { random: seededRandom(1), thinkTimeMs: 5, signal };
  const seen = new Set<number>();
  await offer([{ seconds: 0.1, tasks_per_second: 500 }], async (n) => seen.add(n), options);
  expect(seen.size).toBe(50);
  const failing = offer([{ seconds: 60, tasks_per_second: 100 }], () => Promise.reject(new Error('no')), options);
  await expect(failing).rejects.toThrow('no');
});

test('a cast keeps to the shares, with one of each at least', () => {
  const like = (share: number) => persona.parse({ share });
  const cast = castOf(100, { a: like(0.9), b: like(0.099), c: like(0.001) });
  const count = (name: string) => cast.filter((it) => it === name).length;
  expect([count('a'), count('b'), count('c')]).toEqual([90, 9, 1]);
  expect(() => castOf(1, { a: like(1), b: like(1) })).toThrow('1 agents cannot be 2 personas');
});

test('log-normal times have the median and the 99th percentile that were asked for', () => {
  const random = seededRandom('speed');
  const times = Array.from({ length: 20_000 }, () => lognormalMs(random, { p50: 100, p99: 1_000 })).sort(
    (a, b) => a - b,
  );
  expect(times[10_000]! / 100).toBeCloseTo(1, 1);
  expect(Math.abs(times[19_800]! / 1_000 - 1)).toBeLessThan(0.15);
});
