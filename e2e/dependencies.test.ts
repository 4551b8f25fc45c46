import { createTask, retryTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork } from './fixtures/network.ts';

const work = { task_type: 'work', input_data: null };

test('a task that depends on others waits until all are complete, then runs at once', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 3 });
  const needs = [await network.submit(work), await network.submit(work)];
  const task_id = await network.submit({ ...work, depends_on: needs });
  expect(await network.task(task_id)).toMatchObject({ status: 'BLOCKED', depends_on: needs });
  const { runs } = await agent.poll({ slots: 3 });
  expect(runs.map((run) => run.task_id).sort()).toEqual([...needs].sort());
  await agent.complete(runs[0]!);
  expect((await network.task(task_id)).status).toBe('BLOCKED');
  const waiting = agent.take();
  await agent.complete(runs[1]!);
  expect((await waiting).task_id).toBe(task_id);
});

test('what a task needs may have ended before it was submitted', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const done = await network.submit(work);
  await agent.complete(await agent.take());
  const task_id = await network.submit({ ...work, depends_on: [done] });
  expect((await agent.take()).task_id).toBe(task_id);
});

test('when one of them fails it fails, is skipped or runs all the same, and so on down the line', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const first = await network.submit({ ...work, max_retries: 0 });
  const other = await network.submit({ ...work, capability_required: 'nobody' });
  const after = (depends_on: string[], on_dependency_failure: 'fail' | 'skip' | 'run') =>
    network.submit({ ...work, depends_on, on_dependency_failure });
  const [fails, skips, runs] = [
    // It does not wait for the one nobody does.
    await after([first, other], 'fail'),
    await after([first], 'skip'),
    await after([first], 'run'),
  ];
  const further = [await after([fails], 'fail'), await after([skips], 'skip')];
  const statuses = async (ids: string[]) => Promise.all(ids.map(async (id) => (await network.task(id)).status));
  await agent.fail(await agent.take());
  await network.until(further[1]!, 'SKIPPED');
  expect(await statuses([fails, skips, ...further])).toEqual(['FAILED', 'SKIPPED', 'FAILED', 'SKIPPED']);
  expect(await network.task(fails)).toMatchObject({
    dead_letter: false,
    error: { message: 'a task it depends on was not completed' },
  });
  expect((await agent.take()).task_id).toBe(runs);
  // A person may try a failed one all the same; what was skipped was meant to be.
  expect(await network.admin(retryTask, { params: { task_id: fails } })).toMatchObject({ status: 'PENDING' });
  await expect(network.admin(retryTask, { params: { task_id: skips } })).rejects.toMatchObject({ code: 'conflict' });
});

test('a task that is cancelled or expires counts as not completed; a blocked one can be both', async () => {
  const network = await startNetwork();
  const soon = new Date((await network.clock.now()).getTime() + 5_000).toISOString();
  const nobody = { ...work, capability_required: 'nobody' };
  const [cancelled, expires] = [await network.submit(nobody), await network.submit({ ...nobody, expires_at: soon })];
  const after = [
    await network.submit({ ...work, depends_on: [cancelled] }),
    await network.submit({ ...work, depends_on: [expires], on_dependency_failure: 'skip' }),
  ];
  const waits = await network.submit({ ...work, depends_on: [await network.submit(nobody)], expires_at: soon });
  const stopped = await network.submit({ ...work, depends_on: [waits] });
  await network.cancel(stopped);
  await network.cancel(cancelled);
  await network.clock.advance('6s');
  await network.until(after[0]!, 'FAILED');
  await network.until(after[1]!, 'SKIPPED');
  expect((await network.task(waits)).status).toBe('EXPIRED');
  expect((await network.task(stopped)).status).toBe('CANCELLED');
});

test('what is not there, or is somebody else’s, cannot be waited for', async () => {
  const network = await startNetwork();
  const acme = await makeKey(network, { owner: 'acme', scopes: ['tasks:write'] });
  const foreign = await network.submit(work);
  for (const task_id of [foreign, 'task_01h2xcejqtf2nbrexx3vqjhp41'])
    await expect(acme.call(createTask, { body: { ...work, depends_on: [task_id] } })).rejects.toMatchObject({
      code: 'validation-failed',
      message: `#/depends_on/0 task ${task_id} does not exist`,
    });
});
