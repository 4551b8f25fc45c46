import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Log } from './log.ts';
import { createLoops, look } from './look.ts';

const log = { error() {}, info() {} } as unknown as Log;
let it: Rows;
beforeAll(async () => {
  it = await openRows();
});
afterAll(() => it.close());

/** A loop that counts its ticks, every millisecond if it may. */
const counting = (name: string, due?: string) => {
  const counted = { name, intervalMs: 1, ticks: 0, tick: async () => ++counted.ticks };
  return due === undefined ? counted : Object.assign(counted, { due });
};

/** Runs loops until `enough`. */
async function runUntil(specs: ReturnType<typeof counting>[], enough: () => boolean) {
  const loops = createLoops(specs, it.db.hot, log);
  for (const loop of loops) loop.start();
  await eventually(enough, { timeoutMs: 10_000 });
  await Promise.all(loops.map((loop) => loop.stop()));
}

test('what holds is told of each condition, by the clock of the database', async () => {
  const now = '(select now from clock)';
  expect(await look(it.db.hot, ['true', 'false', 'null', `${now} <= ${now}`])).toEqual([true, false, false, true]);
});

test('a loop ticks where its condition holds, from the start, and not where it does not', async () => {
  const [always, due, idle] = [counting('always'), counting('due', 'true'), counting('idle', 'false or null')];
  await runUntil([always, due, idle], () => due.ticks >= 3);
  expect(idle.ticks).toBe(0);
  expect(always.ticks).toBeGreaterThan(due.ticks);
});

test('where it cannot be told every loop looks for itself', async () => {
  const [idle, broken] = [counting('idle', 'false'), counting('broken', '(select 1 / 0) = 1')];
  await runUntil([idle, broken], () => idle.ticks >= 3 && broken.ticks >= 3);
});
