import { heartbeat } from '@muster/shared/contract/dispatch';
import { createTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { createAdmission } from './admission.ts';

test('beyond the limit only what is vital is taken, until something is done', async () => {
  const admission = createAdmission(2);
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => void ends.push(resolve));
  const [first] = [admission.count(createTask, work), admission.count(createTask, work)];
  expect(() => admission.refuseExcess(createTask)).toThrow(expect.objectContaining({ code: 'overloaded' }));
  admission.refuseExcess(heartbeat);
  const vital = admission.count(heartbeat, work);
  ends[0]!();
  await first;
  admission.refuseExcess(createTask);
  for (const end of ends) end();
  await vital;
});

test('work that fails gives its place back', async () => {
  const admission = createAdmission(1);
  await expect(admission.count(createTask, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  admission.refuseExcess(createTask);
});
