import { eventually } from '@muster/testing/eventually';
import { expect, test } from 'vitest';
import type { Log } from './log.ts';
import { createLoop } from './loop.ts';

const quiet = () => {
  const lines: string[] = [];
  const log = {
    error: (_: object, text: string) => lines.push(text),
    info: (_: object, text: string) => lines.push(text),
  };
  return { lines, log: log as unknown as Log };
};

test('ticks follow each other and never overlap, whoever asks for them', async () => {
  let [running, most, ticks] = [0, 0, 0];
  const tick = async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    return ++ticks;
  };
  const loop = createLoop({ name: 'it', intervalMs: 1, tick }, quiet().log);
  loop.start();
  loop.start();
  expect(await Promise.all([loop.tick(), loop.tick(), loop.tick()])).toEqual(
    expect.arrayContaining([expect.any(Number)]),
  );
  await eventually(() => ticks > 8);
  await loop.stop();
  const stopped = ticks;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([most, ticks]).toEqual([1, stopped]);
});

test('a stop waits for the tick in flight', async () => {
  let open = () => {};
  let ended = false;
  const tick = () =>
    new Promise<number>((resolve) => {
      open = () => {
        ended = true;
        resolve(1);
      };
    });
  const loop = createLoop({ name: 'it', intervalMs: 1, tick }, quiet().log);
  const ticking = loop.tick();
  await new Promise((resolve) => setImmediate(resolve));
  const stopping = loop.stop().then(() => ended);
  open();
  expect(await stopping).toBe(true);
  await ticking;
});

test('a tick that fails is told once, and the loop goes on', async () => {
  let ticks = 0;
  const { lines, log } = quiet();
  const tick = async () => {
    if (++ticks < 4) throw new Error('away');
    return 1;
  };
  const loop = createLoop({ name: 'it', intervalMs: 1, tick }, log);
  loop.start();
  await eventually(() => ticks > 5);
  await loop.stop();
  expect(lines).toEqual(['loop failed', 'loop works again']);
});
