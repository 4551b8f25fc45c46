import { backoffMs, type RetryPolicy } from '@muster/shared/backoff';
import { retryTask } from '@muster/shared/contract/tasks';
import { describe, expect, test } from 'vitest';
import { startNetwork, startSdkAgent } from './fixtures/network.ts';

describe('a task that fails is tried again after a pause that grows by its policy', () => {
  test.for<{ retry_policy: RetryPolicy; max_retries: number }>([
    { retry_policy: 'exponential', max_retries: 5 },
    { retry_policy: 'linear', max_retries: 10 },
    { retry_policy: 'fixed', max_retries: 2 },
  ])('$retry_policy', async ({ retry_policy, max_retries }) => {
    const network = await startNetwork();
    const agent = await network.rawAgent();
    const task_id = await network.submit({ task_type: 'work', input_data: null, retry_policy, max_retries });
    for (let failures = 1; failures <= max_retries; failures += 1) {
      const run = await agent.take(0);
      expect(run).toMatchObject({ task_id, attempt: failures });
      expect(await agent.fail(run)).toEqual({ applied: true, task_status: 'PENDING' });
      const [least, most] = [backoffMs(retry_policy, failures, 0), backoffMs(retry_policy, failures, 1)];
      // Real time passes too, so only where there is room for it.
      if (least > 4_000) {
        await network.clock.advance(least - 2_000);
        expect((await agent.poll()).runs).toEqual([]);
      }
      await network.clock.advance(most);
    }
    const last = await agent.take(0);
    expect(await agent.fail(last, { message: 'for good', code: 'broken' })).toEqual({
      applied: true,
      task_status: 'FAILED',
    });
    const task = await network.task(task_id);
    expect(task).toMatchObject({
      status: 'FAILED',
      dead_letter: true,
      attempt: max_retries + 1,
      error: { message: 'for good', code: 'broken' },
    });
    expect(task.runs.map(({ attempt, status }) => [attempt, status])).toEqual(
      Array.from({ length: max_retries + 1 }, (_, n) => [n + 1, 'FAILED']),
    );
  });
});

test('a failure that may not be retried goes straight to FAILED with dead_letter', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null, max_retries: 5 });
  const error = { message: 'validation error', fault: 'task', retryable: false } as const;
  expect(await agent.fail(await agent.take(), error)).toEqual({ applied: true, task_status: 'FAILED' });
  expect(await network.task(task_id)).toMatchObject({ status: 'FAILED', dead_letter: true, attempt: 1, error });
  await network.clock.advance('1h');
  await agent.assert();
  expect((await agent.poll()).runs).toEqual([]);
});

test('a person’s retry counts attempts from one again and keeps the history', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null, max_retries: 1, retry_policy: 'fixed' });
  const failTwice = async () => {
    expect(await agent.fail(await agent.take())).toMatchObject({ task_status: 'PENDING' });
    await network.clock.advance('1s');
    expect(await agent.fail(await agent.take())).toMatchObject({ task_status: 'FAILED' });
  };
  await failTwice();
  expect(await network.admin(retryTask, { params: { task_id } })).toMatchObject({
    status: 'PENDING',
    dead_letter: false,
  });
  await expect(network.admin(retryTask, { params: { task_id } })).rejects.toMatchObject({ code: 'conflict' });
  await failTwice();
  expect((await network.task(task_id)).runs.map(({ attempt }) => attempt)).toEqual([1, 2, 1, 2]);
  await network.admin(retryTask, { params: { task_id } });
  const run = await agent.take();
  expect(run.attempt).toBe(1);
  await agent.complete(run, 'at last');
  const task = await network.task(task_id);
  expect(task).toMatchObject({
    status: 'COMPLETED',
    dead_letter: false,
    result_data: 'at last',
    error: null,
    attempt: 1,
  });
  expect(task.runs.map(({ attempt, status }) => `${attempt} ${status}`)).toEqual([
    '1 FAILED',
    '2 FAILED',
    '1 FAILED',
    '2 FAILED',
    '1 COMPLETED',
  ]);
  await expect(network.admin(retryTask, { params: { task_id } })).rejects.toMatchObject({
    code: 'conflict',
    status: 409,
  });
});

test('a run that a real agent’s handler fails is tried again by itself, and told what the attempt is', async () => {
  const network = await startNetwork();
  const attempts: number[] = [];
  await startSdkAgent(network, {
    handlers: {
      flaky: ({ run }) => {
        attempts.push(run.attempt);
        if (run.attempt === 1) throw new Error('not the first time');
        return 'done';
      },
    },
  });
  const task_id = await network.submit({ task_type: 'flaky', input_data: null });
  const task = await network.until(task_id, 'COMPLETED');
  expect(task).toMatchObject({ attempt: 2, result_data: 'done' });
  expect(task.runs).toMatchObject([
    { status: 'FAILED', fault: 'agent', error: { message: 'not the first time' } },
    { status: 'COMPLETED' },
  ]);
  expect(attempts).toEqual([1, 2]);
});
