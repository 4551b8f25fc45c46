import { putLimit } from '@muster/shared/contract/queue';
import { createTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { inParallel, startNetwork, type TestNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: null };

/** Submits so many tasks for an owner. */
async function submitFor(network: TestNetwork, owner: string, n: number) {
  const { call } = await makeKey(network, { owner, scopes: ['tasks:write'], requests_per_minute: 1_000_000 });
  const body = { ...work, input_data: owner };
  return inParallel(Array.from({ length: n }), 16, () => call(createTask, { body }));
}

/** Whose tasks an agent is given, one after another. */
async function order(network: TestNetwork, n: number, slots: number) {
  const agent = await network.rawAgent({ enrollment_token: await network.enrol({ serves: 'all' }), slots });
  let owners = '';
  while (owners.length < n) {
    const { runs } = await agent.poll({ slots, wait_ms: 5_000 });
    owners += runs.map((run) => run.input_data).join('');
    await inParallel(runs, 4, (run) => agent.complete(run));
  }
  return owners.slice(0, n);
}

test('the many tasks of one owner do not keep the few of another waiting', async () => {
  const network = await startNetwork();
  await submitFor(network, 'a', 200);
  await submitFor(network, 'b', 10);
  const begun = await order(network, 40, 4);
  expect(begun.slice(0, 20)).toMatch(/^[ab]*$/);
  expect([...begun.slice(0, 20)].filter((owner) => owner === 'b')).toHaveLength(10);
  expect(begun.slice(20)).toBe('a'.repeat(20));
});

test('an owner of weight three has three tasks begun for each of another', async () => {
  const network = await startNetwork();
  await network.admin(putLimit, { params: { scope: 'owner', name: 'a' }, body: { weight: 3 } });
  await submitFor(network, 'b', 40);
  await submitFor(network, 'a', 90);
  const begun = await order(network, 80, 5);
  const ofA = [...begun].filter((owner) => owner === 'a').length;
  expect(ofA).toBeGreaterThanOrEqual(59);
  expect(ofA).toBeLessThanOrEqual(61);
});
