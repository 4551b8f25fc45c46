import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getTrust, getTrustHistory } from '@muster/shared/contract/trust';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { nearly } from './fixtures/nearly.ts';
import { scratch, startAgentProcess, startNetwork, supervise, type TestNetwork } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** Coordinators have been there long enough for who is silent to be dead. */
const beSteady = ({ sql }: TestNetwork) => sql`update cluster set steady_since = steady_since - interval '1 day'`;

const trustOf = async (network: TestNetwork, agent_id: string) => ({
  ...(await network.admin(getTrust, { params: { agent_id } })),
  history: (await network.admin(getTrustHistory, { params: { agent_id } })).data,
});

/** How often the agents were not heard of long enough that their leases ended. */
const silence = (network: TestNetwork) => network.clock.advance('31s', { beats: 'missed' });

test('the task of an agent killed with SIGKILL is finished by another, and the dead one’s late result is refused and moves no trust', async () => {
  const network = await startNetwork();
  await beSteady(network);
  const supervisor = supervise();
  const first = await startAgentProcess(supervisor, network, { name: 'first' });
  const task_id = await network.submit({ task_type: 'sleep', input_data: { seconds: 600 } });
  await first.process.waitForLine(({ event, task_id: id }) => event === 'executing' && id === task_id);
  const [run] = (await network.task(task_id)).runs;
  first.process.kill('SIGKILL');
  await first.process.ended();
  await silence(network);
  // The reaper leaves an agent whose row is in somebody's hands to its next round.
  expect(await network.until(task_id, 'PENDING')).toMatchObject({
    runs: [{ agent_id: first.agent_id, attempt: 1, status: 'LOST', fault: 'agent', error: { code: 'lease-lost' } }],
  });

  const second = await network.rawAgent({ capabilities: ['sleep'], display_name: 'second' });
  const again = await second.take();
  expect(again).toMatchObject({ task_id, attempt: 2 });
  expect(again.fence).toBeGreaterThan(run!.fence);

  const before = await trustOf(network, first.agent_id);
  expect(before.trust_score).toBeLessThan(0.5);
  expect(before.history).toMatchObject([{ run_id: run!.run_id, outcome: 'LOST', reason: /no heartbeat since/ }]);
  const dead = await RawAgent.impersonate({ url: network.url, now: () => network.clock.now() }, first);
  const late = () => dead.complete(run!, { slept_seconds: 600 });
  // While another runs it, and again when that has ended.
  await expect(late()).rejects.toMatchObject({ code: 'stale-lease', status: 409 });
  expect(await second.complete(again, 'by the second')).toEqual({ applied: true, task_status: 'COMPLETED' });
  await expect(late()).rejects.toMatchObject({ code: 'stale-lease', status: 409 });
  await expect(dead.fail(again)).rejects.toMatchObject({ code: 'stale-lease' });
  expect(await trustOf(network, first.agent_id)).toEqual(nearly(before));

  expect(await network.task(task_id)).toMatchObject({
    status: 'COMPLETED',
    agent_id: second.agentId,
    attempt: 2,
    result_data: 'by the second',
    runs: [
      { agent_id: first.agent_id, attempt: 1, status: 'LOST' },
      { agent_id: second.agentId, attempt: 2, status: 'COMPLETED' },
    ],
  });
});

test('an agent that beats keeps its runs while another that is silent loses its own', async () => {
  const network = await startNetwork();
  await beSteady(network);
  const [silent, alive] = [await network.rawAgent(), await network.rawAgent()];
  const ids = [
    await network.submit({ task_type: 'work', input_data: 1 }),
    await network.submit({ task_type: 'work', input_data: 2 }),
  ];
  const [lost, kept] = [await silent.take(), await alive.take()];
  for (const _ of ['10s', '20s', '30s', '40s']) {
    await network.clock.advance('10s', { beats: 'missed' });
    expect((await alive.beat({ runs: [kept].map(({ run_id, fence }) => ({ run_id, fence })) })).lost).toEqual([]);
  }
  const again = await alive.poll({ slots: 1, holding: [kept.run_id] });
  expect(again.runs).toEqual([]);
  await alive.complete(kept, 'kept');
  expect(await alive.take()).toMatchObject({ task_id: lost.task_id, attempt: 2 });
  expect(await network.task(kept.task_id)).toMatchObject({ status: 'COMPLETED', attempt: 1 });
  expect(ids).toContain(lost.task_id);
  expect((await silent.beat({ runs: [{ run_id: lost.run_id, fence: lost.fence }] })).lost).toEqual([lost.run_id]);
});

test('a loss counts as an attempt: out of them the task fails with dead_letter', async () => {
  const network = await startNetwork();
  await beSteady(network);
  const task_id = await network.submit({ task_type: 'work', input_data: null, max_retries: 1 });
  for (const attempt of [1, 2]) {
    const agent = await network.rawAgent();
    expect(await agent.take()).toMatchObject({ task_id, attempt });
    await silence(network);
  }
  expect(await network.task(task_id)).toMatchObject({
    status: 'FAILED',
    dead_letter: true,
    error: { code: 'lease-lost' },
    runs: [{ status: 'LOST' }, { status: 'LOST' }],
  });
});

test('an agent frozen past its lease does not get its result applied when it wakes', async () => {
  const network = await startNetwork();
  await beSteady(network);
  const supervisor = supervise();
  const frozen = await startAgentProcess(supervisor, network, { args: ['--enable-script'], name: 'frozen' });
  // It does not end before its agent is frozen, and what it prints no other run prints.
  const frozenNow = join(scratch('frozen'), 'now');
  const script = `until [ -e ${frozenNow} ]; do sleep 0.1; done; echo $$`;
  const task_id = await network.submit({ task_type: 'script', input_data: { script } });
  await frozen.process.waitForLine(({ event }) => event === 'executing');
  frozen.process.freeze();
  writeFileSync(frozenNow, '');
  await silence(network);
  const other = await startAgentProcess(supervisor, network, { args: ['--enable-script'], name: 'other' });
  const { result_data } = await network.until(task_id, 'COMPLETED');

  frozen.process.resume();
  const discarded = frozen.process.waitForLine(
    ({ event, applied }) => event === 'discarded' || (event === 'reported' && applied === false),
    { timeoutMs: 20_000 },
  );
  await discarded;
  const task = await network.task(task_id);
  expect(task.result_data).toEqual(result_data);
  expect(task.runs).toMatchObject([
    { agent_id: frozen.agent_id, status: 'LOST' },
    { agent_id: other.agent_id, status: 'COMPLETED' },
  ]);
  const { history } = await trustOf(network, frozen.agent_id);
  expect(history.map(({ outcome }) => outcome)).toEqual(['LOST']);
  // It goes on as before.
  const next = await network.submit({ task_type: 'echo', input_data: 'next' });
  await eventually(async () => expect((await network.task(next)).status).toBe('COMPLETED'));
});
