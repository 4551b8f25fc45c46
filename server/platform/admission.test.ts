import { heartbeat } from '@muster/shared/contract/dispatch';
import { createTask, listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { createAdmission } from './admission.ts';

test('beyond the limit only what is vital is taken, until something is done', async () => {
  const admission = createAdmission({ atOnce: 2, refusals: { atOnce: 2, aSecond: 20 } });
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => void ends.push(resolve));
  const [first] = [admission.count(createTask, work), admission.count(createTask, work)];
  const since = performance.now();
  await Promise.all([1, 2, 3, 4, 5].map(() => admission.excess(createTask) ?? expect.fail('it was taken')));
  expect(performance.now() - since, 'a crowd that is refused does not ask again at once').toBeGreaterThan(140);
  expect(admission.excess(heartbeat)).toBeUndefined();
  const vital = admission.count(heartbeat, work);
  ends[0]!();
  await first;
  expect(admission.excess(createTask)).toBeUndefined();
  for (const end of ends) end();
  await vital;
});

test('work that fails gives its place back', async () => {
  const admission = createAdmission({ atOnce: 1 });
  await expect(admission.count(createTask, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(admission.excess(createTask)).toBeUndefined();
});

test('what reads waits for its turn, and not for long; what changes something does not wait for it', async () => {
  const admission = createAdmission({ atOnce: 4, turnMs: 50 });
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => void ends.push(resolve));
  const begun = [1, 2, 3].map(() => admission.count(listTasks, work));
  const late = [1, 2, 3, 4].map(() => admission.count(listTasks, work));
  expect(admission.excess(listTasks), 'more than so many do not wait').toBeDefined();
  expect(admission.excess(createTask), 'who waits for a turn takes no place').toBeUndefined();
  await Promise.all(late.map((list) => expect(list).rejects.toMatchObject({ code: 'overloaded' })));
  await admission.count(createTask, async () => {});
  const next = admission.count(listTasks, async () => 'read');
  ends[0]!();
  expect(await next).toBe('read');
  expect(ends, 'who was refused is not read for').toHaveLength(3);
  for (const end of ends) end();
  await Promise.all(begun);
});
