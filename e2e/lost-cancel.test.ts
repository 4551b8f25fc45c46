import { getAgent } from '@muster/shared/contract/agents';
import { retryTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { startNetwork } from './fixtures/network.ts';

test('a run whose hand-out got lost and that was cancelled then holds no slot after the next poll that does not name it', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: 'lost', timeout_seconds: 604_800 });
  // The agent never sees this answer.
  const lost = await agent.take();
  await network.cancel(task_id);
  const next = await network.submit({ task_type: 'work', input_data: 'next' });
  const slotsUsed = async () => (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).slots_used;
  expect(await slotsUsed()).toBe(1);
  expect(await agent.poll({ holding: [] })).toMatchObject({ runs: [] });
  expect(await slotsUsed()).toBe(0);
  expect((await network.task(task_id)).runs).toMatchObject([{ run_id: lost.run_id, status: 'CANCELLED', fault: null }]);
  expect((await agent.poll({ holding: [] })).runs).toMatchObject([{ task_id: next }]);
  // Nothing of it is left in the way of another try.
  expect(await network.admin(retryTask, { params: { task_id } })).toMatchObject({ status: 'PENDING' });
});

test('a poll sent after the cancel, which names the run, is told at once to stop it', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const { run_id } = await agent.take();
  await network.cancel(task_id);
  const asked = performance.now();
  expect(await agent.poll({ holding: [run_id], wait_ms: 20_000 })).toMatchObject({ runs: [], cancel: [run_id] });
  expect(performance.now() - asked).toBeLessThan(5_000);
  // Work is not held back by it.
  const next = await network.submit({ task_type: 'work', input_data: null });
  expect((await agent.poll({ holding: [run_id], wait_ms: 20_000 })).runs).toMatchObject([{ task_id: next }]);
});
