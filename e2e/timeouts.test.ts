import { expect, test } from 'vitest';
import { startNetwork, startSdkAgent, type TestNetwork } from './fixtures/network.ts';

/** Coordinators have been there long enough for who is silent to be dead. */
const beSteady = ({ sql }: TestNetwork) => sql`update cluster set steady_since = steady_since - interval '1 day'`;

test('a run started 301 s ago with a timeout of 300 s is timed out by the coordinator, one started now is not', async () => {
  const network = await startNetwork();
  await beSteady(network);
  const agent = await network.rawAgent({ slots: 2 });
  const settings = { task_type: 'work', input_data: null, timeout_seconds: 300, max_retries: 0 };
  const old = await network.submit(settings);
  const oldRun = await agent.take();
  await agent.start(oldRun);
  await network.clock.advance('295s');
  const young = await network.submit(settings);
  const youngRun = await agent.take();
  await agent.start(youngRun);
  expect(await network.task(old)).toMatchObject({ status: 'RUNNING' });
  await network.clock.advance('6s');
  expect(await network.task(old)).toMatchObject({
    status: 'TIMED_OUT',
    error: { code: 'timeout' },
    runs: [{ status: 'TIMED_OUT', attempt: 1 }],
  });
  expect(await network.task(young)).toMatchObject({ status: 'RUNNING' });
  await expect(agent.complete(oldRun)).rejects.toMatchObject({ code: 'stale-lease' });
  expect(await agent.complete(youngRun)).toEqual({ applied: true, task_status: 'COMPLETED' });
});

test('a run that is timed out is tried again while there are retries', async () => {
  const network = await startNetwork();
  await beSteady(network);
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null, timeout_seconds: 60 });
  await agent.take();
  await network.clock.advance('61s');
  expect(await network.task(task_id)).toMatchObject({ status: 'PENDING', runs: [{ status: 'TIMED_OUT' }] });
  await network.clock.advance('1s');
  const again = await agent.take();
  expect(again).toMatchObject({ task_id, attempt: 2 });
  await agent.complete(again);
});

test('an agent ends a run that takes too long by itself, and frees its slot', async () => {
  const network = await startNetwork();
  let aborted: unknown;
  await startSdkAgent(network, {
    handlers: {
      endless: ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            aborted = signal.reason.reason;
            reject(signal.reason);
          }),
        ),
      quick: () => 'quick',
    },
  });
  const task_id = await network.submit({ task_type: 'endless', input_data: null, timeout_seconds: 1, max_retries: 0 });
  const next = await network.submit({ task_type: 'quick', input_data: null });
  const task = await network.until(task_id, 'TIMED_OUT');
  expect(task).toMatchObject({ error: { code: 'timeout' }, runs: [{ status: 'TIMED_OUT' }] });
  expect(aborted).toBe('timeout');
  const [run] = task.runs;
  const took = Date.parse(run!.finished_at!) - Date.parse(run!.assigned_at);
  expect(took).toBeGreaterThanOrEqual(1_000);
  await network.until(next, 'COMPLETED');
});
