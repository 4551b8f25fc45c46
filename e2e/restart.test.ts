import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { inParallel, startProcessNetwork, startSdkAgent, supervise } from './fixtures/network.ts';

test('a coordinator killed and restarted three times under load loses no task it acknowledged and applies none twice', async () => {
  const network = await startProcessNetwork(supervise());
  const executions = new Map<string, number>();
  const enrollment_token = await network.enrol();
  const agents = await inParallel(Array.from({ length: 6 }), 3, () =>
    startSdkAgent(network, {
      enrollment_token,
      slots: 4,
      handlers: {
        double: async ({ input_data, run }) => {
          executions.set(run.task_id, (executions.get(run.task_id) ?? 0) + 1);
          await pause(20);
          return (input_data as number) * 2;
        },
      },
    }),
  );

  const acknowledged = new Map<string, number>();
  let refused = 0;
  let going = true;
  const submitting = inParallel(Array.from({ length: 4 }), 4, async (_, lane) => {
    for (let n = lane; going; n += 4) {
      const id = await network.submit({ task_type: 'double', input_data: n }).catch(() => undefined);
      if (id) acknowledged.set(id, n);
      else refused += 1;
      await pause(id ? 10 : 50);
    }
  });
  for (let restarts = 1; restarts <= 3; restarts += 1) {
    const done = executions.size;
    await eventually(() => expect(executions.size).toBeGreaterThan(done + 40), { timeoutMs: 30_000 });
    await network.coordinator.restart('SIGKILL');
  }
  const done = executions.size;
  await eventually(() => expect(executions.size).toBeGreaterThan(done + 40), { timeoutMs: 30_000 });
  going = false;
  await submitting;

  expect(refused, 'submits that met a dead coordinator').toBeGreaterThan(0);
  await inParallel([...acknowledged.entries()], 10, async ([task_id, n]) => {
    const task = await network.until(task_id, 'COMPLETED', 40_000);
    expect(task).toMatchObject({ result_data: n * 2, attempt: 1, dead_letter: false });
    expect(task.runs.map(({ status }) => status)).toEqual(['COMPLETED']);
    expect(executions.get(task_id)).toBe(1);
  });
  expect(agents.map(({ agentId }) => agentId).every(Boolean)).toBe(true);
}, 120_000);
