import { getAgent, updateAgent } from '@muster/shared/contract/agents';
import { listAuditLogs } from '@muster/shared/contract/audit';
import type { AssignedRun } from '@muster/shared/contract/dispatch';
import { adjustTrust, banAgent, getTrust, quarantineAgent, releaseAgent } from '@muster/shared/contract/trust';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

const WHY = { reason: 'it copied the answers' };

const standingOf = async (network: TestNetwork, { agentId }: RawAgent) =>
  (await network.admin(getTrust, { params: { agent_id: agentId } })).standing;
/** Waits until an agent hears, in the answer to a beat, that it has lost a run. */
const loses = (agent: RawAgent, { run_id, fence }: AssignedRun) =>
  eventually(async () => {
    const { lost } = await agent.beat({ runs: [{ run_id, fence }] });
    expect(lost).toEqual([run_id]);
  });

test('a quarantine takes the work away at once: another does it, and the late result of the first is stale', async () => {
  const network = await startNetwork();
  const [bad, good] = [await network.rawAgent(), await network.rawAgent()];
  const task_id = await network.submit({ task_type: 'work', input_data: null });
  const run = await bad.take();
  const params = { agent_id: bad.agentId };
  const told = await network.admin(quarantineAgent, { params, body: WHY });
  expect(told).toMatchObject({ standing: 'QUARANTINED' });
  await loses(bad, run);
  await expect(bad.complete(run, 'a lie')).rejects.toMatchObject({ status: 409, code: 'stale-lease' });
  const again = await good.take();
  expect(again).toMatchObject({ task_id, attempt: 2 });
  await good.complete(again, 'the truth');
  const done = await network.until(task_id, 'COMPLETED');
  expect(done.result_data).toBe('the truth');
  expect(done.runs).toMatchObject([
    { status: 'RETURNED', fault: 'system', error: { code: 'quarantined' } },
    { status: 'COMPLETED' },
  ]);
  // Nobody is blamed for work that was taken away.
  expect(await network.admin(getTrust, { params })).toMatchObject({ trust_score: 0.5 });
});

test('it ends after a day, the next after two, the third when an admin says so; and each word is in the audit log', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const params = { agent_id: agent.agentId };
  const say = (verb: typeof quarantineAgent | typeof releaseAgent | typeof banAgent, capability?: string) =>
    network.admin(verb as typeof quarantineAgent, { params, body: { ...WHY, ...(capability ? { capability } : {}) } });
  for (const days of [1, 2]) {
    expect(await say(quarantineAgent, 'work')).toMatchObject({ standing: 'QUARANTINED' });
    // Said twice, it is no second one.
    expect(await say(quarantineAgent, 'work')).toMatchObject({ standing: 'QUARANTINED' });
    await network.clock.advance(`${days * 24 - 1}h`);
    expect(await standingOf(network, agent)).toBe('QUARANTINED');
    await network.clock.advance('61m');
    expect(await standingOf(network, agent)).toBe('PROBATION');
  }
  expect(await say(quarantineAgent, 'work')).toMatchObject({ standing: 'BANNED' });
  await network.clock.advance('60d');
  expect(await standingOf(network, agent)).toBe('BANNED');
  await expect(say(quarantineAgent, 'work')).rejects.toMatchObject({ status: 409, code: 'conflict' });
  expect(await say(releaseAgent)).toMatchObject({ standing: 'PROBATION' });
  expect(await say(banAgent)).toMatchObject({ standing: 'BANNED' });
  expect(await say(releaseAgent)).toMatchObject({ standing: 'PROBATION' });
  const { data } = await network.admin(listAuditLogs, { query: { subject_id: agent.agentId } });
  expect(data.map(({ action, after }) => [action, (after as { standing?: string } | null)?.standing])).toEqual([
    ['agent.release', 'PROBATION'],
    ['agent.ban', 'BANNED'],
    ['agent.release', 'PROBATION'],
    ['agent.quarantine', 'BANNED'],
    ['agent.quarantine', 'QUARANTINED'],
    ['agent.quarantine', 'QUARANTINED'],
  ]);
  expect(data[0]!.after).toMatchObject(WHY);
});

test('a word about one capability leaves the others; a word about the agent is about what it will do, too', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ capabilities: ['work', 'play'], slots: 2 });
  const params = { agent_id: agent.agentId };
  for (const task_type of ['work', 'play']) await network.submit({ task_type, input_data: null });
  const { runs } = await agent.poll({ slots: 2, wait_ms: 10_000 });
  const [work, play] = ['work', 'play'].map((name) => runs.find((run) => run.capability_required === name)!);
  await network.admin(quarantineAgent, { params, body: { capability: 'work', ...WHY } });
  await loses(agent, work!);
  expect(await agent.complete(play!)).toMatchObject({ applied: true });
  await expect(
    network.admin(quarantineAgent, { params, body: { capability: 'cooking', ...WHY } }),
  ).rejects.toMatchObject({ code: 'validation-failed', errors: [{ pointer: '#/capability' }] });
  await network.admin(releaseAgent, { params, body: { capability: 'work', ...WHY } });
  await expect(network.admin(releaseAgent, { params, body: { capability: 'play', ...WHY } })).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('is NEWCOMER in play; release needs QUARANTINED or BANNED'),
  });
  await network.admin(banAgent, { params, body: WHY });
  expect(await network.admin(getTrust, { params })).toMatchObject({ standing: 'BANNED' });
});

test('an admin may put an agent where the lifecycle lets it stand, with a score or with a standing, not both', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const params = { agent_id: agent.agentId };
  const adjust = (body: object) =>
    network.admin(adjustTrust, { params, body: { capability: 'work', reason: 'known for years', ...body } });
  for (const standing of ['TRUSTED', 'TRUSTED', 'PROBATION', 'TRUSTED', 'BANNED', 'PROBATION', 'QUARANTINED'] as const)
    expect(await adjust({ standing })).toMatchObject({ standing, trust_score: 0.5 });
  await expect(adjust({ standing: 'TRUSTED' })).rejects.toMatchObject({ code: 'conflict' });
  for (const body of [{}, { standing: 'BANNED', delta: 0.1 }, { standing: 'NEWCOMER' }])
    await expect(adjust(body)).rejects.toMatchObject({ code: 'validation-failed' });
  const { data } = await network.admin(listAuditLogs, { query: { action: 'trust.adjust' } });
  expect(data).toHaveLength(6);
});

test('only an admin says whose word is taken for right', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const params = { agent_id: agent.agentId };
  const owner = await makeKey(network, { scopes: ['agents:admin'], owner: 'admin' });
  for (const call of [agent.call, owner.call])
    await expect(call(updateAgent, { params, body: { anchor: true } })).rejects.toMatchObject({
      code: 'insufficient-scope',
    });
  expect(await network.admin(getAgent, { params })).toMatchObject({ anchor: false });
  expect(await network.admin(updateAgent, { params, body: { anchor: true } })).toMatchObject({ anchor: true });
  expect(await network.admin(updateAgent, { params, body: { display_name: 'vouched for' } })).toMatchObject({
    anchor: true,
  });
  const { data } = await network.admin(listAuditLogs, { query: { action: 'agent.update' } });
  expect(data[1]).toMatchObject({ before: { anchor: false }, after: { anchor: true } });
});
