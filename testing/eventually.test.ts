import { expect, test } from 'vitest';
import { eventually } from './eventually.ts';

test('waits until the assertion holds, and answers its value', async () => {
  let tries = 0;
  const value = await eventually(() => {
    tries += 1;
    expect(tries).toBeGreaterThan(2);
    return `after ${tries}`;
  });
  expect(value).toBe('after 3');
});

test('false is not yet', async () => {
  let tries = 0;
  expect(await eventually(async () => ++tries > 2 && tries)).toBe(3);
});

test('fails with the last failure and how long it tried', async () => {
  const never = eventually(() => expect(1).toBe(2), { timeoutMs: 60, everyMs: 10 });
  await expect(never).rejects.toThrow(/not within \d+ ms: expected 1 to be 2/);
});
