import { heartbeat } from '@muster/shared/contract/dispatch';
import { createTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { createAdmission } from './admission.ts';

test('beyond the limit only what is vital is taken, until something is done', async () => {
  const admission = createAdmission({ atOnce: 2, refusalsASecond: 20 });
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => void ends.push(resolve));
  const [first] = [admission.count(createTask, work), admission.count(createTask, work)];
  const since = performance.now();
  await Promise.all([1, 2, 3].map(() => admission.excess(createTask) ?? expect.fail('it was taken')));
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
