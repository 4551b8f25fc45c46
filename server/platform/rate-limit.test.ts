import { afterEach, expect, test, vi } from 'vitest';
import { createRateLimit, rateLimitHeaders } from './rate-limit.ts';

const code = 'rate-limited';
afterEach(() => vi.useRealTimers());

test('as many as allowed are taken, by each name on its own', () => {
  const limit = createRateLimit('requests');
  expect(limit.take('a', 2)).toMatchObject({ limit: 2, remaining: 1 });
  expect(limit.take('a', 2)).toMatchObject({ limit: 2, remaining: 0 });
  const allowance = { limit: 2, remaining: 0 };
  expect(() => limit.take('a', 2)).toThrow(
    expect.objectContaining({ code, allowance: expect.objectContaining(allowance) }),
  );
  expect(limit.take('b', 2)).toMatchObject({ remaining: 1 });
  // A larger allowance counts from the same count.
  expect(limit.take('a', 10)).toMatchObject({ remaining: 6 });
});

test('what is spent is refused without being counted', () => {
  const limit = createRateLimit('failures');
  for (let n = 0; n < 3; n += 1) {
    limit.refuseSpent('a', 3);
    limit.refuseSpent('a', 3);
    limit.count('a');
  }
  expect(() => limit.refuseSpent('a', 3)).toThrow(/more than 3 failures a minute; try again in \d+ s/);
  limit.refuseSpent('b', 3);
});

test('a minute after the first there is a new allowance, and not before', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const limit = createRateLimit('requests');
  expect(limit.take('a', 1)).toMatchObject({ reset: 60 });
  vi.advanceTimersByTime(59_999);
  expect(() => limit.take('a', 1)).toThrow(expect.objectContaining({ code }));
  expect(() => limit.refuseSpent('a', 1)).toThrow(/try again in 1 s/);
  vi.advanceTimersByTime(1);
  limit.refuseSpent('a', 1);
  expect(limit.take('a', 1)).toMatchObject({ remaining: 0, reset: 60 });
});

test('so many names are counted at once: of more the oldest is forgotten, and whatever is over', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const limit = createRateLimit('requests', 2);
  for (const name of ['a', 'b']) limit.take(name, 1);
  expect(() => limit.take('a', 1)).toThrow(expect.objectContaining({ code }));
  limit.take('c', 1);
  limit.refuseSpent('a', 1);
  expect(() => limit.take('b', 1)).toThrow(expect.objectContaining({ code }));
  vi.advanceTimersByTime(60_000);
  for (const name of ['b', 'c']) expect(limit.take(name, 1)).toMatchObject({ remaining: 0 });
});

test('an allowance is told as the draft has it', () => {
  const allowance = createRateLimit('requests').take('a', 100);
  expect(allowance.reset).toBeGreaterThan(0);
  expect(rateLimitHeaders(allowance)).toEqual([
    'ratelimit-policy',
    '"default";q=100;w=60',
    'ratelimit',
    `"default";r=99;t=${allowance.reset}`,
  ]);
});
