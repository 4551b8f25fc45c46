import { cordonAgent, deleteAgent, drainAgent, getAgent, uncordonAgent } from '@muster/shared/contract/agents';
import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { startAgentProcess, startNetwork, startSdkAgent, supervise } from './fixtures/network.ts';

test('an agent told to end by SIGTERM finishes the task it has, takes no more, and leaves', async () => {
  const network = await startNetwork();
  const { process, agent_id } = await startAgentProcess(supervise(), network);
  const task_id = await network.submit({ task_type: 'sleep', input_data: { seconds: 1.5 } });
  await process.waitForLine(({ event }) => event === 'executing');
  process.kill('SIGTERM');
  await process.waitForLine(({ event }) => event === 'draining');
  const next = await network.submit({ task_type: 'sleep', input_data: { seconds: 0 } });
  expect(await process.ended()).toBe(0);
  expect(await network.task(task_id)).toMatchObject({
    status: 'COMPLETED',
    attempt: 1,
    result_data: { slept_seconds: 1.5 },
  });
  expect(await network.task(next)).toMatchObject({ status: 'PENDING' });
  const agent = await network.admin(getAgent, { params: { agent_id } });
  expect(agent).toMatchObject({ status: 'OFFLINE', slots_used: 0 });
});

test('an agent that leaves has its runs re-queued at once, and nobody is blamed', async () => {
  const network = await startNetwork();
  const [leaver, heir] = [await network.rawAgent(), await network.rawAgent()];
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  await leaver.take();
  const waiting = heir.take(20_000);
  const asked = performance.now();
  expect(await leaver.leave()).toEqual({ requeued: 1 });
  expect(await waiting).toMatchObject({ task_id, attempt: 2 });
  // Its lease would have lasted for half a minute.
  expect(performance.now() - asked).toBeLessThan(5_000);
  const { runs } = await network.task(task_id);
  expect(runs).toMatchObject([{ status: 'RETURNED', fault: null, error: { code: 'left' } }, { status: 'ASSIGNED' }]);
  const shown = await network.admin(getAgent, { params: { agent_id: leaver.agentId } });
  expect(shown).toMatchObject({ status: 'OFFLINE', trust_score: 0.5, slots_used: 0 });
});

test('an agent an admin drains gets no new work, keeps what it has, and is told with its next beat', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  await network.submit({ task_type: 'work', input_data: 1 });
  const run = await agent.take();
  const drained = await network.admin(drainAgent, { params: { agent_id: agent.agentId } });
  expect(drained).toMatchObject({ mode: 'DRAINING', slots_used: 1 });
  const next = await network.submit({ task_type: 'work', input_data: 2 });
  expect((await agent.poll({ holding: [run.run_id] })).runs).toEqual([]);
  expect(await agent.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] })).toMatchObject({
    drain: true,
    lost: [],
  });
  expect(await agent.complete(run)).toEqual({ applied: true, task_status: 'COMPLETED' });
  expect(await network.task(next)).toMatchObject({ status: 'PENDING' });
  await network.admin(uncordonAgent, { params: { agent_id: agent.agentId } });
  expect(await agent.take()).toMatchObject({ task_id: next });
});

test('a cordoned agent gets nothing new until it is uncordoned', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const params = { agent_id: agent.agentId };
  await network.admin(cordonAgent, { params });
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  expect((await agent.poll()).runs).toEqual([]);
  expect(await network.admin(uncordonAgent, { params })).toMatchObject({ mode: 'OPEN' });
  expect(await agent.take()).toMatchObject({ task_id });
});

test('a revoked agent loses its runs at once and is refused from then on', async () => {
  const network = await startNetwork();
  const [agent, heir] = [await network.rawAgent(), await network.rawAgent()];
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const run = await agent.take();
  const waiting = heir.take(20_000);
  await network.admin(deleteAgent, { params: { agent_id: agent.agentId } });
  expect(await waiting).toMatchObject({ task_id, attempt: 2 });
  for (const word of [
    () => agent.complete(run),
    () => agent.beat(),
    () => agent.poll(),
    () => agent.assert(),
    () => agent.assert(newId('boot')),
  ]) {
    await expect(word()).rejects.toMatchObject({ code: 'token-revoked', status: 401 });
  }
});

test('a new life of an agent fences the old one: its runs are re-queued at once and its words are stale', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const run = await agent.take();
  const old = { bootId: agent.bootId, token: agent.token };
  await agent.assert(newId('boot'));
  const again = await agent.take();
  expect(again).toMatchObject({ task_id, attempt: 2 });
  expect((await network.task(task_id)).runs).toMatchObject([
    { status: 'LOST', error: { code: 'superseded' } },
    { status: 'ASSIGNED' },
  ]);
  const young = { bootId: agent.bootId, token: agent.token };
  Object.assign(agent, old);
  for (const word of [
    () => agent.beat(),
    () => agent.poll(),
    () => agent.complete(run),
    () => agent.assert(old.bootId),
  ]) {
    await expect(word()).rejects.toMatchObject({ code: 'stale-lease', status: 409 });
  }
  Object.assign(agent, young);
  expect(await agent.complete(again)).toEqual({ applied: true, task_status: 'COMPLETED' });
});

test('started twice with one key, the first process stops by itself and the second does its work', async () => {
  const network = await startNetwork();
  const supervisor = supervise();
  const first = await startAgentProcess(supervisor, network, { name: 'first', args: ['--enable-script'] });
  const task_id = await network.submit({
    task_type: 'script',
    // The first that runs it would take for ever.
    input_data: {
      script: 'if mkdir "$MARK" 2>/dev/null; then sleep 300; fi; echo done',
      env: { MARK: `${first.keyDir}/begun` },
    },
  });
  await first.process.waitForLine(({ event }) => event === 'executing');
  const second = await startAgentProcess(supervisor, network, {
    name: 'second',
    keyDir: first.keyDir,
    args: ['--enable-script'],
  });
  expect(second.agent_id).toBe(first.agent_id);
  const task = await network.until(task_id, 'COMPLETED');
  expect(task.result_data).toMatchObject({ stdout: 'done\n' });
  await second.process.waitForLine(({ event }) => event === 'executing');
  expect(task.runs).toMatchObject([
    { status: 'LOST', attempt: 1, error: { code: 'superseded' } },
    { status: 'COMPLETED', attempt: 2 },
  ]);
  expect(await first.process.ended()).toBe(1);
  await first.process.waitForLine(({ event, reason }) => event === 'ended' && reason === 'superseded');
}, 60_000);

test('an agent an admin drains finishes and ends by itself', async () => {
  const network = await startNetwork();
  let finish = (): void => {};
  const agent = await startSdkAgent(network, {
    handlers: {
      work: () =>
        new Promise<string>((resolve) => {
          finish = () => resolve('finished');
        }),
    },
  });
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  await eventually(async () => expect((await network.task(task_id)).status).toBe('ASSIGNED'));
  const draining = new Promise<void>((resolve) => agent.on('draining', () => resolve()));
  await network.admin(drainAgent, { params: { agent_id: agent.agentId! } });
  // It hears of it with its next beat.
  await draining;
  finish();
  expect(await agent.done).toBe('drained');
  expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', result_data: 'finished' });
}, 60_000);
