import { getAgent } from '@muster/shared/contract/agents';
import { eventually, startProxy } from '@muster/testing';
import { expect, onTestFinished, test } from 'vitest';
import { startNetwork, startSdkAgent, type TestNetwork } from './fixtures/network.ts';

async function proxyTo({ url }: TestNetwork) {
  const proxy = await startProxy(url);
  onTestFinished(() => proxy.stop());
  return proxy;
}

test('runs whose hand-out was lost on the way are handed out again by the next poll, with the same fence', async () => {
  const network = await startNetwork();
  const proxy = await proxyTo(network);
  const agent = await network.rawAgent({ slots: 3 }, proxy.url);
  const ids = [];
  for (const n of [1, 2]) ids.push(await network.submit({ task_type: 'work', input_data: { n } }));
  proxy.dropReplies();
  await expect(agent.poll({ slots: 3 })).rejects.toThrow();
  const fences = await Promise.all(ids.map(async (id) => (await network.task(id)).runs.map(({ fence }) => fence)));
  expect(fences.map((of) => of.length)).toEqual([1, 1]);

  const { runs } = await agent.poll({ slots: 3, holding: [] });
  expect(runs.map(({ task_id }) => task_id).sort()).toEqual([...ids].sort());
  expect(runs.map(({ fence }) => fence).sort()).toEqual(fences.flat().sort());
  expect(runs.map(({ input_data }) => input_data)).toEqual(expect.arrayContaining([{ n: 1 }, { n: 2 }]));
  // What is named is not handed out again.
  expect((await agent.poll({ slots: 1, holding: runs.map(({ run_id }) => run_id) })).runs).toEqual([]);
  expect((await agent.poll({ slots: 0, holding: [runs[0]!.run_id] })).runs).toMatchObject([
    { run_id: runs[1]!.run_id },
  ]);
  for (const run of runs) expect(await agent.complete(run)).toEqual({ applied: true, task_status: 'COMPLETED' });
  for (const id of ids) expect((await network.task(id)).runs).toHaveLength(1);
});

test('a lost hand-out is healed also for an agent that still names a run of which it does not know that it has ended', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  await network.submit({ task_type: 'work', input_data: 1 });
  const first = await agent.take();
  // Its reply is lost, say, as is that of the poll after it.
  await agent.complete(first);
  const task_id = await network.submit({ task_type: 'work', input_data: 2 });
  const lost = await agent.take();
  const asked = performance.now();
  const { runs } = await agent.poll({ wait_ms: 5_000, holding: [first.run_id] });
  expect(runs).toMatchObject([{ task_id, fence: lost.fence }]);
  expect(performance.now() - asked).toBeLessThan(4_000);
});

test('a result whose reply was lost is reported again: accepted, and counted once', async () => {
  const network = await startNetwork();
  const proxy = await proxyTo(network);
  const agent = await network.rawAgent({}, proxy.url);
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const { run_id, fence } = await agent.take();
  const trust = async () => (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).trust_score;
  proxy.dropReplies();
  await expect(agent.complete({ run_id, fence }, 'the result')).rejects.toThrow();
  expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', result_data: 'the result' });
  const after = await trust();
  expect(after).toBeGreaterThan(0.5);
  expect(await agent.complete({ run_id, fence }, 'the result')).toEqual({ applied: false, task_status: 'COMPLETED' });
  const results = [{ run_id, fence, outcome: 'COMPLETED' as const, result_data: 'the result' }];
  expect((await agent.poll({ results })).results).toEqual([{ run_id, applied: false }]);
  // The opposite of what was said is not.
  await expect(agent.fail({ run_id, fence })).rejects.toMatchObject({ code: 'stale-lease', status: 409 });
  expect(
    (await agent.poll({ results: [{ run_id, fence, outcome: 'FAILED', error: { message: 'no' } }] })).results,
  ).toEqual([{ run_id, applied: false, code: 'stale-lease' }]);
  expect(await trust()).toBeCloseTo(after, 5);
  expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', result_data: 'the result' });
});

test('a real agent whose poll was answered into the void runs the task all the same, once', async () => {
  const network = await startNetwork();
  const proxy = await proxyTo(network);
  const ran: unknown[] = [];
  let polling = false;
  await startSdkAgent(network, {
    url: proxy.url,
    handlers: { work: ({ input_data }) => void ran.push(input_data) },
    onEvent: (name) => {
      polling ||= name === 'beat';
    },
  });
  await eventually(() => polling);
  proxy.dropReplies();
  const task_id = await network.submit({ task_type: 'work', input_data: 'once' });
  const task = await network.until(task_id, 'COMPLETED');
  expect(ran).toEqual(['once']);
  expect(task.runs).toHaveLength(1);
});

test('a run that was cancelled while its hand-out was lost is over with the next poll: never handed out, its slot free', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  // Lost, say.
  await agent.take();
  await network.cancel(task_id);
  expect((await agent.poll({ holding: [] })).runs).toEqual([]);
  const { slots_used } = await network.admin(getAgent, { params: { agent_id: agent.agentId } });
  expect(slots_used).toBe(0);
  expect((await network.task(task_id)).runs).toMatchObject([{ status: 'CANCELLED', fault: null }]);
});
