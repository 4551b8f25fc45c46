import { getAgent } from '@muster/shared/contract/agents';
import { expect, test } from 'vitest';
import { inParallel, startNetwork } from './fixtures/network.ts';

test('twenty polls that race are given no more runs than the agent has slots, and as many', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 3 });
  await inParallel(Array.from({ length: 30 }), 10, () => network.submit({ task_type: 'work', input_data: null }));
  const used = async () => (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).slots_used;
  for (let round = 1; round <= 5; round += 1) {
    const polls = await Promise.all(Array.from({ length: 20 }, () => agent.poll({ slots: 3 })));
    const runs = polls.flatMap((poll) => poll.runs);
    expect(runs).toHaveLength(3);
    expect(new Set(runs.map(({ fence }) => fence)).size).toBe(3);
    expect(await used()).toBe(3);
    // More while they are full, and while slots come free.
    const racing = Promise.all(Array.from({ length: 10 }, () => agent.poll({ slots: 3 })));
    await Promise.all(runs.map((run) => agent.complete(run)));
    const early = (await racing).flatMap((poll) => poll.runs);
    expect(early.length).toBeLessThanOrEqual(3);
    expect(await used()).toBe(early.length);
    await Promise.all(early.map((run) => agent.complete(run)));
  }
  expect(await used()).toBe(0);
});

test('submits that race to a poll that waits fill its slots and no more; the rest waits in the queue', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 4 });
  for (let round = 1; round <= 3; round += 1) {
    const waiting = agent.poll({ slots: 4, wait_ms: 20_000 });
    await inParallel(Array.from({ length: 10 }), 10, () => network.submit({ task_type: 'work', input_data: round }));
    const runs = [...(await waiting).runs];
    expect(runs.length).toBeGreaterThanOrEqual(1);
    expect(runs.length).toBeLessThanOrEqual(4);
    for (let rest = 10; rest > 0; ) {
      const { slots_used } = await network.admin(getAgent, { params: { agent_id: agent.agentId } });
      expect(slots_used).toBe(runs.length);
      await Promise.all(runs.map((run) => agent.complete(run)));
      rest -= runs.length;
      runs.splice(0);
      if (rest > 0) runs.push(...(await agent.poll({ slots: 4, wait_ms: 5_000 })).runs);
      expect(runs.length).toBeLessThanOrEqual(4);
    }
  }
});

test('a poll that waits and asks for more than the agent has free is given only that', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 3 });
  await network.submit({ task_type: 'work', input_data: 'first' });
  const held = await agent.take();
  const used = async () => (await network.admin(getAgent, { params: { agent_id: agent.agentId } })).slots_used;
  for (let round = 1; round <= 8; round += 1) {
    const waiting = agent.poll({ slots: 20, wait_ms: 20_000, holding: [held.run_id] });
    const submits = Array.from({ length: 20 }, () => network.submit({ task_type: 'work', input_data: round }));
    const ids = new Set(await Promise.all(submits));
    for (let { runs } = await waiting; ids.size > 0; ) {
      expect(runs.length).toBeLessThanOrEqual(2);
      expect(await used()).toBe(1 + runs.length);
      await Promise.all(runs.map((run) => agent.complete(run)));
      for (const { task_id } of runs) ids.delete(task_id);
      if (ids.size > 0) runs = (await agent.poll({ slots: 20, wait_ms: 5_000, holding: [held.run_id] })).runs;
    }
  }
});
