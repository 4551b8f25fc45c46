import { heartbeat } from '@muster/shared/contract/dispatch';
import { createTask, listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { createAdmission } from './admission.ts';

/** Work that lasts until it is told to end. */
function lasting() {
  const ends: (() => void)[] = [];
  return { ends, work: () => new Promise<void>((resolve) => void ends.push(resolve)) };
}

test('beyond the limit only what is vital is taken; all else is refused when it has waited, and not all of it at once', async () => {
  const admission = createAdmission({ atOnce: 2, turnMs: 50, refusals: { atOnce: 2, aSecond: 20 } });
  const { ends, work } = lasting();
  const begun = [admission.count(createTask, work), admission.count(createTask, work)];
  const since = performance.now();
  const places = [1, 2, 3, 4, 5].map(() => admission.place(createTask) ?? expect.fail('it was taken'));
  expect(await Promise.race(places)).toBe(false);
  expect(performance.now() - since, 'it waits for a place').toBeGreaterThan(45);
  expect(await Promise.all(places)).toEqual([1, 2, 3, 4, 5].map(() => false));
  expect(performance.now() - since, 'a crowd that is refused does not ask again at once').toBeGreaterThan(140);
  expect(admission.place(heartbeat)).toBeUndefined();
  const vital = admission.count(heartbeat, work);
  ends[0]!();
  await begun[0];
  expect(admission.place(createTask)).toBeUndefined();
  for (const end of ends) end();
  await Promise.all([...begun, vital]);
});

test('who waits has the next place that is free, the first first, also where one did nothing with his', async () => {
  const admission = createAdmission({ atOnce: 1, turnMs: 60_000 });
  const { ends, work } = lasting();
  const first = admission.count(createTask, work);
  const taken: string[] = [];
  const waiting = ['one', 'two', 'three'].map(async (name) => {
    expect(await admission.place(createTask)).toBe(true);
    taken.push(name);
    if (name === 'two') await admission.count(createTask, work);
  });
  ends[0]!();
  await first;
  await expect.poll(() => taken, { interval: 10 }).toEqual(['one', 'two']);
  expect(admission.place(createTask)).toBeDefined();
  ends[1]!();
  await Promise.all(waiting);
  expect(taken).toEqual(['one', 'two', 'three']);
});

test('work that fails gives its place back', async () => {
  const admission = createAdmission({ atOnce: 1 });
  await expect(admission.count(createTask, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(admission.place(createTask)).toBeUndefined();
});

test('what reads waits for its turn, and not for long; what changes something does not wait for it', async () => {
  const admission = createAdmission({ atOnce: 4, turnMs: 50 });
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => void ends.push(resolve));
  const begun = [1, 2, 3].map(() => admission.count(listTasks, work));
  const late = [1, 2, 3, 4].map(() => admission.count(listTasks, work));
  expect(admission.place(listTasks), 'more than so many do not wait').toBeDefined();
  expect(admission.place(createTask), 'who waits for a turn takes no place').toBeUndefined();
  await Promise.all(late.map((list) => expect(list).rejects.toMatchObject({ code: 'overloaded' })));
  await admission.count(createTask, async () => {});
  const next = admission.count(listTasks, async () => 'read');
  ends[0]!();
  expect(await next).toBe('read');
  expect(ends, 'who was refused is not read for').toHaveLength(3);
  for (const end of ends) end();
  await Promise.all(begun);
});
