import { setImmediate } from 'node:timers/promises';
import { heartbeat } from '@muster/shared/contract/dispatch';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { createTask, listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { type Caller, createAdmission, type Place } from './admission.ts';

const caller: Caller = { destroyed: false };

/** An admission, who comes to it, and work that lasts until it is told to end. */
function startWith(options: Parameters<typeof createAdmission>[0]) {
  const admission = createAdmission(options);
  const place = (endpoint: Endpoint = createTask, who = caller) => admission.place(endpoint, who);
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => void ends.push(resolve));
  /** Who has a place at once, works at it and leaves. */
  const begin = async (endpoint: Endpoint = createTask) => {
    const free = place(endpoint);
    if (free instanceof Promise) return expect.fail('no place is free');
    await free.work(work).finally(() => free.leave());
  };
  return { place, work, ends, begin };
}

const isFree = (place: Place | Promise<Place | undefined>): place is Place => !(place instanceof Promise);

/** Gives back a place that is to be free. */
function expectFree(place: Place | Promise<Place | undefined>) {
  if (!isFree(place)) return expect.fail('no place is free');
  place.leave();
}

test('beyond the limit only what is vital is taken; all else is refused when it has waited, and not all of it at once', async () => {
  const { place, work, ends, begin } = startWith({ atOnce: 2, waitMs: 50, refusals: { atOnce: 2, aSecond: 20 } });
  const begun = [begin(), begin()];
  const since = performance.now();
  const places = [1, 2, 3, 4, 5].map(() => place());
  expect(places.some(isFree)).toBe(false);
  expect(await Promise.race(places)).toBeUndefined();
  expect(performance.now() - since, 'it waits for a place').toBeGreaterThan(45);
  expect(await Promise.all(places)).toEqual([1, 2, 3, 4, 5].map(() => undefined));
  expect(performance.now() - since, 'a crowd that is refused does not ask again at once').toBeGreaterThan(140);
  const beat = place(heartbeat);
  if (!isFree(beat)) expect.fail('what is vital waits');
  const vital = (beat as Place).work(work);
  ends[0]!();
  await begun[0];
  expectFree(place());
  for (const end of ends) end();
  await Promise.all([...begun, vital]);
});

test('who waits has the next place that is free, the first first, and nobody overtakes', async () => {
  const { place, work, ends, begin } = startWith({ atOnce: 1, waitMs: 60_000 });
  const first = begin();
  const taken: string[] = [];
  const waiting = ['one', 'two', 'three'].map(async (name) => {
    const free = (await place())!;
    taken.push(name);
    // The first does nothing with it.
    if (name === 'two') await free.work(work);
    free.leave();
  });
  ends[0]!();
  await first;
  expect(isFree(place()), 'nobody overtakes').toBe(false);
  await expect.poll(() => taken, { interval: 10 }).toEqual(['one', 'two']);
  ends[1]!();
  await Promise.all(waiting);
  expect(taken).toEqual(['one', 'two', 'three']);
});

test('never are more worked on at once than may be, also when the bodies of all come at the same time', async () => {
  const { place } = startWith({ atOnce: 4, waitMs: 60_000 });
  let [given, working, most] = [0, 0, 0];
  let come = () => {};
  const bodies = new Promise<void>((resolve) => (come = resolve));
  const work = async () => {
    working += 1;
    most = Math.max(most, working);
    await setImmediate();
    working -= 1;
  };
  const all = Array.from({ length: 12 }, async () => {
    const free = (await place())!;
    given += 1;
    if (given === 12) come();
    await bodies;
    await free.work(work);
    free.leave();
  });
  await Promise.all(all);
  expect(most).toBe(4);
});

test('who does nothing with a place does not keep it from others, and is worked for before those who wait', async () => {
  const { place, work, ends } = startWith({ atOnce: 1, waitMs: 60_000 });
  const slow = place() as Place;
  const other = (await place())!;
  const order: string[] = [];
  const others = other.work(work).then(() => void order.push('other'));
  const third = (async () => (await place())!.work(async () => void order.push('third')))();
  const slows = slow.work(async () => void order.push('slow'));
  ends[0]!();
  await others;
  other.leave();
  await slows;
  slow.leave();
  await third;
  expect(order).toEqual(['other', 'slow', 'third']);
});

test('a place is free when the work has ended, whoever has been answered before; also when it fails', async () => {
  const { place, work, ends } = startWith({ atOnce: 1 });
  const late = place() as Place;
  const working = late.work(work);
  late.leave();
  expect(isFree(place())).toBe(false);
  ends[0]!();
  await working;
  const failing = startWith({ atOnce: 1 });
  const fails = failing.place() as Place;
  await expect(fails.work(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(isFree(failing.place()), 'it is not answered yet').toBe(false);
  const throwing = startWith({ atOnce: 1 });
  const throws = throwing.place() as Place;
  const thrown = () => {
    throw new Error('at once');
  };
  expect(() => throws.work(thrown)).toThrow('at once');
  throws.leave();
  expectFree(throwing.place());
});

test('who hung up has no place, and is no refusal', async () => {
  const { place, ends, begin } = startWith({ atOnce: 1, waitMs: 50, refusals: { atOnce: 1, aSecond: 0 } });
  const begun = begin();
  const gone = { destroyed: true };
  expect(await Promise.all([place(createTask, gone), place(createTask, gone)])).toEqual([undefined, undefined]);
  expect(await place(), 'a refusal was left').toBeUndefined();
  const waiting = [place(createTask, gone), place()];
  ends[0]!();
  await begun;
  expect(await waiting[0]).toBeUndefined();
  (await waiting[1])!.leave();
});

test('what reads waits for its turn; what changes something does not wait for it', async () => {
  const { place, ends, begin } = startWith({ atOnce: 1, readsAtOnce: 3, waitMs: 50 });
  const begun = [1, 2, 3].map(() => begin(listTasks));
  expect(await Promise.all([1, 2, 3, 4].map(() => place(listTasks)))).toEqual([1, 2, 3, 4].map(() => undefined));
  expectFree(place());
  const next = place(listTasks);
  ends[0]!();
  expect(await next).toBeDefined();
  for (const end of ends) end();
  await Promise.all(begun);
});
