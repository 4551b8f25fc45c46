import { updateAgent } from '@muster/shared/contract/agents';
import { createBatch } from '@muster/shared/contract/batches';
import * as protocol from '@muster/shared/contract/dispatch';
import { createTask, listTasks, retryTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import { tableHashes } from './fixtures/tables.ts';

const work = { task_type: 'work', input_data: null };

/** Whether nothing is there for anybody now. */
const idle = async (agent: Awaited<ReturnType<TestNetwork['rawAgent']>>) => (await agent.poll()).runs.length === 0;

test('the pause before a retry grows as the task says, and no further', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const settings = { retry_base_ms: 100_000, retry_cap_ms: 250_000, retry_jitter: false, max_retries: 5 };
  const task_id = await network.submit({ ...work, ...settings, retry_policy: 'exponential' });
  expect(await network.task(task_id)).toMatchObject(settings);
  for (const seconds of [100, 200, 250, 250]) {
    await agent.fail(await agent.take());
    await network.clock.advance((seconds - 10) * 1_000);
    expect(await idle(agent), `before ${seconds} s`).toBe(true);
    await network.clock.advance('10s');
    await agent.assert();
  }
  await agent.complete(await agent.take());
  expect((await network.task(task_id)).status).toBe('COMPLETED');
});

test('an error code the task names ends the retries', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ ...work, non_retryable: ['bad-input', 'gone'], retry_base_ms: 1 });
  await agent.fail(await agent.take(), { message: 'busy', code: 'busy' });
  await network.clock.advance('1s');
  await agent.fail(await agent.take(), { message: 'it is gone', code: 'gone' });
  expect(await network.task(task_id)).toMatchObject({ status: 'FAILED', dead_letter: true, attempt: 2 });
});

test('the last checkpoint of an attempt is handed to the next, until somebody begins the task anew', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ ...work, retry_base_ms: 1, max_retries: 2 });
  const checkpoint = { row: 42, seen: ['a', null] };
  const first = await agent.take();
  expect(first.checkpoint).toBeUndefined();
  const say = (run: { run_id: string; fence: number }, kept: typeof checkpoint) =>
    agent.call(protocol.progressRun, { params: { run_id: run.run_id }, body: { fence: run.fence, checkpoint: kept } });
  await say(first, { ...checkpoint, row: 1 });
  await say(first, checkpoint);
  await agent.fail(first);
  await network.clock.advance('1s');
  const second = await agent.take();
  expect(second.checkpoint).toEqual(checkpoint);
  // The answer got lost: it is told again, checkpoint and all.
  const { runs } = await agent.poll({ holding: [] });
  expect(runs).toEqual([second]);
  // One that kept none leaves the older one in force.
  await agent.fail(second);
  await network.clock.advance('1s');
  const third = await agent.take();
  expect(third.checkpoint).toEqual(checkpoint);
  await agent.fail(third, { message: 'no', retryable: false });
  await network.admin(retryTask, { params: { task_id } });
  expect((await agent.take()).checkpoint).toBeUndefined();
});

test('a task whose whole time is over ends, waiting or running', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 3 });
  const settings = { task_timeout_seconds: 60, timeout_seconds: 300, retry_base_ms: 40_000, retry_jitter: false };
  const running = await network.submit({ ...work, ...settings });
  const run = await agent.take();
  expect(run.timeout_seconds).toBe(60);
  const retried = await network.submit({ ...work, ...settings });
  await agent.fail(await agent.take());
  const waiting = await network.submit({ ...work, ...settings, capability_required: 'nobody' });
  await network.clock.advance('41s');
  await agent.assert();
  // What is left of the task's time is what its next run may take.
  expect((await agent.take()).timeout_seconds).toBeLessThanOrEqual(19);
  await network.clock.advance('21s');
  expect(await network.task(waiting)).toMatchObject({
    status: 'TIMED_OUT',
    dead_letter: true,
    error: { message: 'took longer than 60 s in all' },
  });
  for (const task_id of [running, retried])
    expect(await network.task(task_id)).toMatchObject({ status: 'TIMED_OUT', dead_letter: true });
  const late = await network.submit({ ...work, ...settings, task_timeout_seconds: 30 });
  await agent.fail(await agent.take());
  // The next try would come after the end: it still waits, and ends there.
  await network.clock.advance('31s');
  expect((await network.task(late)).status).toBe('TIMED_OUT');
  // A person's retry begins its time anew.
  await network.admin(retryTask, { params: { task_id: running } });
  const anew = await agent.take();
  expect(anew.timeout_seconds).toBe(60);
  await network.clock.advance('61s');
  expect((await network.task(running)).status).toBe('TIMED_OUT');
  await network.admin(retryTask, { params: { task_id: waiting } });
  await network.clock.advance('61s');
  expect((await network.task(waiting)).status).toBe('TIMED_OUT');
});

test('a task that needs labels waits for an agent that has them', async () => {
  const network = await startNetwork();
  const plain = await network.rawAgent();
  const task_id = await network.submit({ ...work, labels_required: { zone: 'eu', gpu: 'yes' } });
  expect(await network.task(task_id)).toMatchObject({ labels_required: { zone: 'eu', gpu: 'yes' } });
  expect(await idle(plain)).toBe(true);
  const params = { agent_id: plain.agentId };
  const waiting = plain.poll({ wait_ms: 10_000 });
  await network.admin(updateAgent, { params, body: { labels: { zone: 'eu' } } });
  // It is told to ask again, and still does not fit.
  expect((await waiting).runs).toEqual([]);
  await network.admin(updateAgent, { params, body: { labels: { zone: 'eu', gpu: 'yes', more: 'x' } } });
  expect((await plain.take()).task_id).toBe(task_id);
});

test('of agents that wait the one a task would rather have gets it; without one, any', async () => {
  const network = await startNetwork();
  const [far, near] = [await network.rawAgent(), await network.rawAgent()];
  await network.admin(updateAgent, { params: { agent_id: near.agentId }, body: { labels: { zone: 'eu' } } });
  const wish = { ...work, labels_preferred: { zone: 'eu' } };
  for (let n = 0; n < 5; n += 1) {
    const waitingFar = far.poll({ wait_ms: 1_500 });
    const waitingNear = near.take();
    await network.coordinator.tick();
    await network.submit(wish);
    await near.complete(await waitingNear);
    expect((await waitingFar).runs).toEqual([]);
  }
  const task_id = await network.submit(wish);
  expect((await far.take()).task_id).toBe(task_id);
});

test('tasks are found by what their metadata says', async () => {
  const network = await startNetwork();
  const [a] = [
    await network.submit({ ...work, metadata: { team: 'red', n: 1 } }),
    await network.submit({ ...work, metadata: { team: 'blue' } }),
  ];
  const found = async (metadata: string) =>
    (await network.admin(listTasks, { query: { metadata } })).data.map((it) => it.task_id);
  expect(await found('team=red')).toEqual([a]);
  expect(await found('n=1')).toEqual([a]);
  expect(await found('team=')).toEqual([]);
  await expect(found('team')).rejects.toMatchObject({ code: 'validation-failed' });
});

test('an owner has tasks of so many different requirements and no more; what would be one too many changes nothing', async () => {
  const network = await startNetwork({ env: { MUSTER_MAX_CLASSES: '3' } });
  const kinds = [work, { ...work, labels_preferred: { zone: 'a' } }, { ...work, task_type: 'other' }];
  for (const kind of [...kinds, ...kinds]) await network.submit(kind);
  const before = await tableHashes(network.sql);
  const refused = { code: 'conflict', message: expect.stringContaining('of 3 different requirements already') };
  const further = { ...work, labels_required: { zone: 'a' } };
  await expect(network.submit(further)).rejects.toMatchObject(refused);
  await expect(network.admin(createBatch, { body: { tasks: [work, further] } })).rejects.toMatchObject(refused);
  expect(await tableHashes(network.sql)).toEqual(before);
  const acme = await makeKey(network, { owner: 'acme', scopes: ['tasks:write'] });
  expect(await acme.call(createTask, { body: further })).toMatchObject({ status: 'PENDING' });
});
