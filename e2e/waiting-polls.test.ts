import { putCapabilities } from '@muster/shared/contract/agents';
import { retryTask } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { holdSweeps } from './fixtures/held-tables.ts';
import { inParallel, startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

const LONG = 25_000;
/** Loops that are held up for long say so. */
const QUIET = { env: { MUSTER_LOG_LEVEL: 'silent' } };

/** A task of the type that has been there before, and is not there now: to be retried. */
async function cancelledTask(network: TestNetwork, task_type = 'work'): Promise<string> {
  const task_id = await network.submit({ task_type, input_data: null });
  await network.cancel(task_id);
  return task_id;
}

/** Cordons all agents but one behind the coordinator's back, as another one would whose word has not come yet. */
const cordonOthers = ({ sql }: TestNetwork, { agentId }: RawAgent) => sql`
  with cordoned as (update agents set mode = 'CORDONED' where agent_id <> ${agentId} returning agent_id)
  insert into events (tx, at, kind, subject_ids)
  select pg_current_xact_id(), muster_now(), 'agent.cordoned', array_agg(agent_id) from cordoned`;

/** Parks a poll of each agent, in order. Nothing can tell a client that it has come to wait, but the agent's next word can: it comes after. */
async function parkInOrder(waiters: RawAgent[]) {
  const polls = [];
  for (const agent of waiters) {
    polls.push(agent.poll({ wait_ms: LONG }));
    await agent.beat();
    await agent.beat();
  }
  return polls;
}

test('a task that becomes ready gets past any number of waiting polls whose agents may have none', async () => {
  const network = await startNetwork();
  const closed = await inParallel(Array.from({ length: 30 }), 8, () => network.rawAgent());
  const open = await network.rawAgent();
  const task_id = await cancelledTask(network);
  const polls = await parkInOrder([...closed, open]);
  await cordonOthers(network, open);
  const release = await holdSweeps(network.databaseUrl);
  await network.admin(retryTask, { params: { task_id } });
  expect((await polls.at(-1)!).runs).toMatchObject([{ task_id }]);
  await release();
  // Those were let go meanwhile, with nothing.
  await Promise.all(polls.slice(0, -1).map(async (poll) => expect((await poll).runs).toEqual([])));
});

test('so does a delayed one when its time has come', async () => {
  const network = await startNetwork();
  const closed = await inParallel(Array.from({ length: 20 }), 8, () => network.rawAgent());
  const open = await network.rawAgent();
  await cancelledTask(network);
  const run_at = new Date((await network.clock.now()).getTime() + 600_000).toISOString();
  const task_id = await network.submit({ task_type: 'work', input_data: null, run_at });
  const polls = await parkInOrder([...closed, open]);
  await cordonOthers(network, open);
  await network.clock.advance('11m');
  expect((await polls.at(-1)!).runs).toMatchObject([{ task_id }]);
  await Promise.all(polls);
});

test('what an agent is not able to do any more is not given to its waiting poll', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: ['old', 'new'] });
  for (const type of ['old', 'new']) await cancelledTask(network, type);
  const [waiting] = await parkInOrder([agent]);
  await network.admin(putCapabilities, { params: { agent_id: agent.agentId }, body: { capabilities: ['new'] } });
  const old = await network.submit({ task_type: 'old', input_data: null });
  expect((await waiting!).runs).toEqual([]);
  const next = agent.poll({ wait_ms: LONG });
  const task_id = await network.submit({ task_type: 'new', input_data: null });
  expect((await next).runs).toMatchObject([{ task_id }]);
  expect(await network.task(old)).toMatchObject({ status: 'PENDING' });
});

test('a task submitted in whatever moment of a poll is delivered by it at once', async () => {
  const network = await startNetwork(QUIET);
  const agent = await network.rawAgent();
  await cancelledTask(network);
  const release = await holdSweeps(network.databaseUrl);
  for (let n = 0; n < 150; n += 1) {
    // On a busy machine all of them take longer than a lease.
    if (n % 10 === 0) await agent.beat();
    const poll = agent.poll({ wait_ms: LONG });
    // Both are under way: now the one is first, now the other.
    for (let turns = n % 20; turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
    const submitted = network.submit({ task_type: 'work', input_data: n });
    const [run] = (await poll).runs;
    expect(run?.input_data).toBe(n);
    await submitted;
    await agent.complete(run!);
  }
  await release();
});

test('a task that comes between a confirmed result and the next poll is delivered by that poll at once', async () => {
  const network = await startNetwork(QUIET);
  const agent = await network.rawAgent();
  await network.submit({ task_type: 'work', input_data: 0 });
  let run = await agent.take();
  const release = await holdSweeps(network.databaseUrl);
  for (let n = 1; n <= 20; n += 1) {
    const results = [{ run_id: run.run_id, fence: run.fence, outcome: 'COMPLETED' as const }];
    const answer = await agent.poll({ results, wait_ms: LONG });
    expect(answer).toMatchObject({ runs: [], results: [{ applied: true }] });
    await network.submit({ task_type: 'work', input_data: n });
    run = await agent.take(LONG);
    expect(run.input_data).toBe(n);
  }
  await release();
});

test('a poll whose caller has hung up is given nothing', async () => {
  const network = await startNetwork();
  const [gone, there] = [await network.rawAgent(), await network.rawAgent()];
  const end = new AbortController();
  const poll = fetch(`${network.url}/ains/agents/${gone.agentId}/poll`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gone.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ boot_id: gone.bootId, slots: 1, wait_ms: LONG }),
    signal: end.signal,
  });
  await gone.beat();
  await gone.beat();
  end.abort();
  await expect(poll).rejects.toThrow('aborted');
  const [waiting] = await parkInOrder([there]);
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  expect((await waiting!).runs).toMatchObject([{ task_id }]);
});
