import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getAgent } from '@muster/shared/contract/agents';
import { listTasks } from '@muster/shared/contract/tasks';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { isAlive, scratch, startAgentProcess, startNetwork, startSdkAgent, supervise } from './fixtures/network.ts';

test('cancel kills the running process within seconds, frees the slot, and what it did before does not count', async () => {
  const network = await startNetwork();
  const agent = await startAgentProcess(supervise(), network, { args: ['--enable-script', '--slots', '2'] });
  const folder = scratch('cancel');
  const task_id = await network.submit({
    task_type: 'script',
    input_data: { script: 'echo $$ > shell; sleep 300 & echo $! > child; wait', working_dir: folder },
  });
  const pidOf = (name: string) => Number(readFileSync(join(folder, name), 'utf8').trim() || Number.NaN);
  const pids = await eventually(() => {
    const found = ['shell', 'child'].map(pidOf);
    return found.every((pid) => pid > 1) && found;
  });
  expect(pids.map(isAlive)).toEqual([true, true]);

  const asked = performance.now();
  expect(await network.cancel(task_id, 'changed my mind')).toMatchObject({ task_id, status: 'CANCELLED' });
  await eventually(() => expect(pids.map(isAlive)).toEqual([false, false]));
  expect(performance.now() - asked).toBeLessThan(5_000);
  const task = await eventually(async () => {
    const it = await network.task(task_id);
    expect(it.runs).toMatchObject([{ status: 'CANCELLED' }]);
    return it;
  });
  expect(task).toMatchObject({ status: 'CANCELLED', result_data: null, error: { message: 'changed my mind' } });
  const { slots_used, trust_score } = await network.admin(getAgent, { params: { agent_id: agent.agent_id } });
  expect({ slots_used, trust_score }).toEqual({ slots_used: 0, trust_score: 0.5 });
});

test('a task cancelled while it waits never starts', async () => {
  const network = await startNetwork();
  const waiting = await network.submit({ task_type: 'work', input_data: 'cancelled' });
  const later = await network.submit({
    task_type: 'work',
    input_data: 'cancelled',
    run_at: new Date(Date.now() + 3_600_000).toISOString(),
  });
  for (const task_id of [waiting, later]) {
    expect(await network.cancel(task_id)).toMatchObject({ status: 'CANCELLED' });
    await expect(network.cancel(task_id)).rejects.toMatchObject({ code: 'task-terminal', status: 409 });
  }
  const ran: unknown[] = [];
  await startSdkAgent(network, { handlers: { work: ({ input_data }) => void ran.push(input_data) } });
  const last = await network.submit({ task_type: 'work', input_data: 'not cancelled' });
  await network.until(last, 'COMPLETED');
  await network.clock.advance('2h');
  expect((await network.admin(listTasks, { query: { status: 'PENDING' } })).data).toEqual([]);
  expect(ran).toEqual(['not cancelled']);
  for (const task_id of [waiting, later]) {
    expect(await network.task(task_id)).toMatchObject({ status: 'CANCELLED', attempt: 0, runs: [] });
  }
});

test('a result reported after cancel is refused as task-terminal and changes nothing', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const run = await agent.take();
  await network.cancel(task_id);
  // The slot is taken until the agent says that the process is gone.
  const slots = async () => (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).slots_used;
  expect(await slots()).toBe(1);
  expect((await agent.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] })).cancel).toEqual([run.run_id]);
  const before = await network.task(task_id);
  await expect(agent.complete(run, 'too late')).rejects.toMatchObject({ code: 'task-terminal', status: 409 });
  await expect(agent.complete(run, 'too late')).rejects.toMatchObject({ code: 'task-terminal' });
  const after = await network.task(task_id);
  expect(after).toMatchObject({ status: 'CANCELLED', result_data: null });
  expect({ ...after, runs: [] }).toEqual({ ...before, runs: [] });
  expect(after.runs).toMatchObject([{ status: 'CANCELLED', fault: null }]);
  const { trust_score } = await network.admin(getAgent, { params: { agent_id: agent.agentId } });
  expect([trust_score, await slots()]).toEqual([0.5, 0]);
});

test('a poll that waits is told at once to stop a run', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const run = await agent.take();
  const asked = performance.now();
  const waiting = agent.poll({ wait_ms: 20_000, holding: [run.run_id] });
  await eventually(() => performance.now() - asked > 200);
  await network.cancel(task_id);
  expect(await waiting).toMatchObject({ runs: [], cancel: [run.run_id] });
  expect(performance.now() - asked).toBeLessThan(10_000);
  expect(await agent.report(run, { outcome: 'CANCELLED' })).toEqual({ applied: true, task_status: 'CANCELLED' });
  expect(await agent.report(run, { outcome: 'CANCELLED' })).toEqual({ applied: false, task_status: 'CANCELLED' });
});
