import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { cancelTask, createTask, getTask, type Task } from '@muster/shared/contract/tasks';
import { startCoordinator, startProxy, type TestCoordinator } from '@muster/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { aFolder, anAgent, untilAborted } from './testing/harness.ts';

let coordinator: TestCoordinator;
beforeAll(async () => {
  coordinator = await startCoordinator();
});
afterAll(() => coordinator.stop());

const enrol = async () => (await coordinator.admin(createEnrollmentToken, { body: {} })).enrollment_token;
const submit = async (task_type: string) =>
  (await coordinator.admin(createTask, { body: { task_type, input_data: null } })).task_id;
const until = (task_id: string, status: Task['status']) =>
  expect.poll(async () => (await coordinator.admin(getTask, { params: { task_id } })).status).toBe(status);

test('at a real coordinator: what a process could not deliver the next one delivers, and the attempt counts', async () => {
  const proxy = await startProxy(coordinator.url);
  const options = { key_dir: aFolder(), enrollment_token: await enrol() };
  let letGo: () => void = () => undefined;
  const handlers = { 'outbox-job': () => new Promise<string>((resolve) => (letGo = () => resolve('made once'))) };
  const agent = anAgent(proxy, { ...options, handlers });
  await agent.start();
  const task_id = await submit('outbox-job');
  const { run_id } = await agent.hears('executing');
  await proxy.refuse();
  letGo();
  await expect.poll(() => readdirSync(join(options.key_dir, 'outbox'))).toEqual([`${run_id}.json`]);
  await agent.stop();

  await proxy.restore();
  const reborn = anAgent(proxy, { ...options, handlers });
  await reborn.start();
  expect(reborn.heard('reported')).toEqual([{ run_id, outcome: 'COMPLETED', applied: true }]);
  expect(await coordinator.admin(getTask, { params: { task_id } })).toMatchObject({
    status: 'COMPLETED',
    result_data: 'made once',
    runs: [{ run_id, attempt: 1, status: 'COMPLETED' }],
  });
  await reborn.stop();
  await proxy.stop();
});

test('at a real coordinator: a full agent is told of a cancel at once', async () => {
  const { handler, reason, running } = untilAborted();
  const agent = anAgent(coordinator, { enrollment_token: await enrol(), handlers: { 'cancel-job': handler } });
  await agent.start();
  const task_id = await submit('cancel-job');
  await running;
  // As long as it takes until the full agent has a poll wait; the beat that would tell it comes after 10 s.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await coordinator.admin(cancelTask, { params: { task_id } });
  expect(await Promise.race([reason, new Promise((resolve) => setTimeout(resolve, 6_000, 'too late'))])).toBe(
    'cancelled',
  );
  await until(task_id, 'CANCELLED');
});

test('at a real coordinator: results of more than a body in sum are all taken', async () => {
  const handlers = { 'large-job': () => 'x'.repeat(890 * 1024) };
  const agent = anAgent(coordinator, { enrollment_token: await enrol(), slots: 3, handlers });
  await agent.start();
  const tasks = await Promise.all([1, 2, 3].map(() => submit('large-job')));
  await Promise.all(tasks.map((task_id) => until(task_id, 'COMPLETED')));
});

test('at a real coordinator: the older of two processes that are the same agent stops', async () => {
  const options = { key_dir: aFolder(), enrollment_token: await enrol() };
  const older = anAgent(coordinator, options);
  await older.start();
  const newer = anAgent(coordinator, options);
  await newer.start();
  // A poll of the older one that waits is let go by the next of the newer one, or by a beat.
  await expect.poll(() => older.heard('superseded').length).toBe(1);
  expect(newer.heard('ended')).toEqual([]);
});
