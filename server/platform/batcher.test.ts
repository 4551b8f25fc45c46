import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createBatcher } from './batcher.ts';

const failure = (code: string) => Object.assign(new Error(code), { code });
/** A run that ends when it is told to. */
function gate() {
  const open: (() => void)[] = [];
  return {
    open() {
      for (const it of open.splice(0)) it();
    },
    wait: () => new Promise<void>((resolve) => void open.push(resolve)),
  };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a batcher', () => {
  test('answers everybody in the order of the items, whatever came when', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(3), { maxLength: 40 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 3 }),
        async (waits, maxItems, inFlight) => {
          const double = createBatcher(
            async (items: number[]) => {
              for (let n = 0; n < items[0]! % 3; n += 1) await turn();
              return items.map((it) => it * 2);
            },
            { maxItems, inFlight },
          );
          const asked = [];
          for (const [n, wait] of waits.entries()) {
            for (let k = 0; k < wait; k += 1) await turn();
            asked.push(double(n));
          }
          expect(await Promise.all(asked)).toEqual(waits.map((_, n) => n * 2));
        },
      ),
      { numRuns: 40, seed: 1 },
    );
  });

  test('that rests takes the first at once, and after its rest all that came meanwhile', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const batches: number[][] = [];
    const add = createBatcher(
      async (items: number[]) => {
        batches.push(items);
        return items;
      },
      { restMs: 10 },
    );
    await add(1);
    const later = [];
    for (const n of [2, 3]) {
      later.push(add(n));
      await turn();
    }
    expect([...batches, add.waiting]).toEqual([[1], 2]);
    vi.advanceTimersByTime(10);
    expect(await Promise.all(later)).toEqual([2, 3]);
    expect(batches).toEqual([[1], [2, 3]]);
  });

  test('takes what arrives together together, and what arrives meanwhile next', async () => {
    const batches: number[][] = [];
    const { open, wait } = gate();
    const add = createBatcher(async (items: number[]) => {
      batches.push(items);
      await wait();
      return items;
    });
    const first = [add(1), add(2)];
    await turn();
    const later = [add(3), add(4)];
    await turn();
    expect(batches).toEqual([[1, 2]]);
    expect(add.waiting).toBe(4);
    open();
    await Promise.all(first);
    await turn();
    expect(batches).toEqual([
      [1, 2],
      [3, 4],
    ]);
    open();
    await Promise.all(later);
    expect(add.waiting).toBe(0);
  });

  test('has as many in flight as it may, and no more', async () => {
    let running = 0;
    let most = 0;
    const add = createBatcher(
      async (items: number[]) => {
        most = Math.max(most, ++running);
        for (let n = 0; n < 5; n += 1) await turn();
        running -= 1;
        return items;
      },
      { inFlight: 3, maxItems: 2 },
    );
    await Promise.all(Array.from({ length: 40 }, (_, n) => add(n)));
    expect(most).toBe(3);
  });

  test('fills a batch by weight; what is too heavy goes alone', async () => {
    const batches: number[][] = [];
    const add = createBatcher(
      async (items: number[]) => {
        batches.push(items);
        return items;
      },
      { maxItems: 10, weight: (it) => it },
    );
    await Promise.all([4, 6, 1, 99, 10, 5, 5, 1].map((it) => add(it)));
    expect(batches).toEqual([[4, 6], [1], [99], [10], [5, 5], [1]]);
  });

  test('a value the database refuses fails alone', async () => {
    const batches: number[][] = [];
    const add = createBatcher(async (items: number[]) => {
      batches.push(items);
      if (items.includes(2)) throw failure('22P05');
      return items;
    });
    const answers = await Promise.allSettled([add(1), add(2), add(3)]);
    expect(answers).toEqual([
      { status: 'fulfilled', value: 1 },
      { status: 'rejected', reason: expect.objectContaining({ code: '22P05' }) },
      { status: 'fulfilled', value: 3 },
    ]);
    expect(batches).toEqual([[1, 2, 3], [1], [2], [3]]);
  });

  test.each(['40P01', '40001'])('what lost with %s is sent again, but three times at most', async (code) => {
    let failures = 1;
    let sent = 0;
    const add = createBatcher(async (items: number[]) => {
      sent += 1;
      if (failures-- > 0) throw failure(code);
      return items;
    });
    expect(await Promise.all([add(1), add(2)])).toEqual([1, 2]);
    expect(sent).toBe(2);
    failures = 3;
    const lost = await Promise.allSettled([add(1), add(2)]);
    expect(lost.map((it) => it.status)).toEqual(['rejected', 'rejected']);
    expect(sent).toBe(5);
  });

  test('a lost connection fails everybody, is not tried again, and the next batch comes', async () => {
    let sent = 0;
    const add = createBatcher(async (items: number[]) => {
      if (++sent === 1) throw failure('CONNECTION_CLOSED');
      return items;
    });
    const lost = await Promise.allSettled([add(1), add(2)]);
    expect([lost.map((it) => it.status), sent]).toEqual([['rejected', 'rejected'], 1]);
    expect(await add(3)).toBe(3);
  });
});
