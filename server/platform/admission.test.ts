import { heartbeat } from '@muster/shared/contract/dispatch';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { createTask, listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { type Caller, createAdmission, type Place } from './admission.ts';

const caller: Caller = { destroyed: false };

/** An admission, and who comes to it. */
function startWith(options: Parameters<typeof createAdmission>[0]) {
  const admission = createAdmission(options);
  const place = (endpoint: Endpoint = createTask, who = caller) => admission.place(endpoint, who);
  /** A place that is to be free at once, taken. */
  const taken = (endpoint: Endpoint = createTask): Place => {
    const free = place(endpoint);
    if (free instanceof Promise || free.turn()) return expect.fail('no place is free');
    return free;
  };
  /** Who reads, and has a turn or is told so. */
  const read = async (who = caller) => {
    const free = (await place(listTasks, who))!;
    await free.turn();
    return free;
  };
  return { place, taken, read };
}

test('beyond the limit only what is vital is taken; all else is refused when it has waited, and not all of it at once', async () => {
  const { place, taken } = startWith({ atOnce: 2, waitMs: 50, refusals: { atOnce: 2, aSecond: 20 } });
  const [first] = [taken(), taken()];
  const since = performance.now();
  const places = [1, 2, 3, 4, 5].map(() => place());
  expect(places.every((it) => it instanceof Promise)).toBe(true);
  expect(await Promise.race(places)).toBeUndefined();
  expect(performance.now() - since, 'it waits for a place').toBeGreaterThan(45);
  expect(await Promise.all(places)).toEqual([1, 2, 3, 4, 5].map(() => undefined));
  expect(performance.now() - since, 'a crowd that is refused does not ask again at once').toBeGreaterThan(140);
  taken(heartbeat);
  first.leave();
  taken();
});

test('who waits has the next place that is free, the first first, and nobody overtakes', async () => {
  const { place, taken } = startWith({ atOnce: 1, waitMs: 60_000 });
  const first = taken();
  const order: string[] = [];
  const waiting = ['one', 'two', 'three'].map(async (name) => {
    const free = (await place())!;
    order.push(name);
    return free;
  });
  first.leave();
  const last = place();
  expect(last, 'nobody overtakes').toBeInstanceOf(Promise);
  for (const free of waiting) (await free).leave();
  expect(order).toEqual(['one', 'two', 'three']);
  (await last)!.leave();
  taken();
});

test('who leaves a place has it again when it is their turn, and never more than there are have one', async () => {
  const { place, taken } = startWith({ atOnce: 1, waitMs: 60_000 });
  const slow = taken();
  const waiting = place();
  slow.leave();
  slow.leave();
  const other = (await waiting)!;
  const again = slow.turn()!;
  const third = place();
  expect([again, third]).toEqual([expect.any(Promise), expect.any(Promise)]);
  expect(await Promise.race([again, third, 'nobody yet'])).toBe('nobody yet');
  other.leave();
  await again;
  expect(slow.turn(), 'it is theirs').toBeUndefined();
  expect(await Promise.race([third, 'not yet'])).toBe('not yet');
  slow.leave();
  expect(await third).toBeDefined();
});

test('who is to have a place again is refused like anybody', async () => {
  const { taken, place } = startWith({ atOnce: 1, waitMs: 50 });
  const slow = taken();
  slow.leave();
  taken();
  await expect(slow.turn()).rejects.toMatchObject({ code: 'overloaded' });
  slow.leave();
  expect(await place(), 'none became free by it').toBeUndefined();
});

test('who hung up has no place, and is no refusal', async () => {
  const { place, taken } = startWith({ atOnce: 1, waitMs: 50, refusals: { atOnce: 1, aSecond: 0 } });
  const first = taken();
  const gone = { destroyed: true };
  expect(await Promise.all([place(createTask, gone), place(createTask, gone)])).toEqual([undefined, undefined]);
  expect(await place(), 'a refusal was left').toBeUndefined();
  const patient = place();
  expect(await place(createTask, gone), 'also behind one who cannot be refused yet').toBeUndefined();
  const leaving = { destroyed: false };
  const waiting = place(createTask, leaving);
  leaving.destroyed = true;
  first.leave();
  (await patient)!.leave();
  expect(await waiting).toBeUndefined();
  taken();
});

test('what reads has places of its own, and needs none until its turn', async () => {
  const { place, taken, read } = startWith({ atOnce: 1, readsAtOnce: 3, waitMs: 50 });
  const begun = await Promise.all([read(), read(), read()]);
  expect(place(listTasks), 'who it is may be asked').not.toBeInstanceOf(Promise);
  const late = [1, 2, 3, 4].map(() => expect(read()).rejects.toMatchObject({ code: 'overloaded' }));
  await Promise.all(late);
  taken();
  const next = read();
  begun[0]!.leave();
  await next;
});

test('a crowd that changes something takes no refusals from those that read', async () => {
  const { place, taken, read } = startWith({
    atOnce: 1,
    readsAtOnce: 1,
    waitMs: 50,
    refusals: { atOnce: 1, aSecond: 0 },
  });
  taken();
  await read();
  expect(await place()).toBeUndefined();
  await expect(read()).rejects.toMatchObject({ code: 'overloaded' });
});
