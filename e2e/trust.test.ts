import { getAgent, searchAgents } from '@muster/shared/contract/agents';
import { listAuditLogs } from '@muster/shared/contract/audit';
import { adjustTrust, getLeaderboard, getTrust, getTrustHistory, replayTrust } from '@muster/shared/contract/trust';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

const SETTINGS = { task_type: 'work', input_data: null, max_retries: 0 };

async function play(network: TestNetwork, agent: RawAgent, outcomes: string): Promise<void> {
  for (const outcome of outcomes) {
    await network.submit(SETTINGS);
    const run = await agent.take();
    if (outcome === '+') await agent.complete(run);
    else if (outcome === '-') await agent.fail(run);
    else await agent.fail(run, { message: 'cannot be done', fault: 'task' });
  }
}
const scoreOf = async (network: TestNetwork, { agentId }: RawAgent) =>
  (await network.admin(getTrust, { params: { agent_id: agentId } })).trust_score;

test('trust rises with each completed run, falls with each failure of the agent, and stands still where the task was at fault', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const scores = [await scoreOf(network, agent)];
  expect(scores).toEqual([0.5]);
  for (const outcome of '+++--t+') {
    await play(network, agent, outcome);
    scores.push(await scoreOf(network, agent));
  }
  // What fades between two looks is no move.
  const moves = scores.slice(1).map((score, n) => Math.sign(Math.round((score - scores[n]!) * 1e4)) + 0);
  expect(moves).toEqual([1, 1, 1, -1, -1, 0, 1]);
  expect(scores.every((score) => score > 0 && score < 1)).toBe(true);
  const trust = await network.admin(getTrust, { params: { agent_id: agent.agentId } });
  expect(trust.capabilities).toMatchObject([
    { capability: 'work', completed: 4, failed: 2, timed_out: 0, lost: 0, integrity: 1 },
  ]);
  const shown = await network.admin(getAgent, { params: { agent_id: agent.agentId } });
  expect(shown.trust_score).toBeCloseTo(scores.at(-1)!, 6);
});

test('the history explains the score: each piece of evidence with before and after, which chain from 0.5 to now', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  await play(network, agent, '++-+t-');
  const params = { agent_id: agent.agentId };
  const { data } = await network.admin(getTrustHistory, { params });
  const oldestFirst = [...data].reverse();
  expect(oldestFirst.map(({ outcome }) => outcome)).toEqual([
    'COMPLETED',
    'COMPLETED',
    'FAILED',
    'COMPLETED',
    'FAILED',
  ]);
  let score = 0.5;
  for (const { outcome, trust_score_before, trust_score_after, trust_delta, reason } of oldestFirst) {
    expect(trust_score_before).toBeCloseTo(score, 6);
    expect(trust_delta).toBeCloseTo(trust_score_after! - trust_score_before!, 9);
    expect(Math.sign(trust_delta!)).toBe(outcome === 'COMPLETED' ? 1 : -1);
    expect(reason).toMatch(outcome === 'COMPLETED' ? /completed/ : /it broke/);
    score = trust_score_after!;
  }
  expect(score).toBeCloseTo(await scoreOf(network, agent), 6);
  // The same by pages.
  const paged = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await network.admin(getTrustHistory, { params, query: { limit: 2, ...(cursor ? { cursor } : {}) } });
    paged.push(...page.data);
    cursor = page.next_cursor;
  }
  expect(paged).toEqual(data);
});

test('the leaderboard has the most trusted first and leaves out those with too few runs', async () => {
  const network = await startNetwork();
  const names: Record<string, string> = { bad: '---', good: '+++', mixed: '+-+', newcomer: '' };
  for (const [display_name, outcomes] of Object.entries(names)) {
    const agent = await network.rawAgent({ display_name });
    await play(network, agent, outcomes);
    await agent.poll({ slots: 0 });
  }
  const board = async (query = {}) =>
    (await network.admin(getLeaderboard, { query })).data.map(({ display_name }) => display_name);
  expect(await board()).toEqual(['good', 'mixed', 'newcomer', 'bad']);
  expect(await board({ min_runs: 1 })).toEqual(['good', 'mixed', 'bad']);
  expect(await board({ limit: 1 })).toEqual(['good']);
  expect(await board({ capability: 'other' })).toEqual([]);
  const [best] = (await network.admin(getLeaderboard, {})).data;
  expect(best).toMatchObject({ completed: 3, failed: 0, success_rate: 1 });
  const trusted = await network.admin(searchAgents, { query: { min_trust: 0.55 } });
  expect(trusted.data.map(({ display_name }) => display_name)).toEqual(['good', 'mixed']);
});

test('an admin moves a score for a reason: as evidence that stays in the history, fades, and is audited', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const params = { agent_id: agent.agentId };
  const adjust = (delta: number, reason: string, capability = 'work') =>
    network.admin(adjustTrust, { params, body: { capability, delta, reason } });
  const raised = await adjust(0.3, 'audited by hand');
  expect(raised).toMatchObject({ level: 'high', capabilities: [{ capability: 'work', level: 'high', completed: 0 }] });
  expect(raised.trust_score).toBeCloseTo(0.8, 6);
  await play(network, agent, '--');
  const before = await scoreOf(network, agent);
  expect(before).toBeLessThan(0.8);
  expect((await adjust(-1, 'caught at it')).trust_score).toBeCloseTo(0.01, 6);
  const { data } = await network.admin(getTrustHistory, { params });
  expect(data.map(({ outcome }) => outcome)).toEqual(['ADJUSTED', 'FAILED', 'FAILED', 'ADJUSTED']);
  expect(data.map(({ reason }) => reason)).toEqual([
    'adjusted by -1: caught at it',
    expect.stringMatching(/^failed by its own fault: /),
    expect.stringMatching(/^failed by its own fault: /),
    'adjusted by +0.3: audited by hand',
  ]);
  expect(data[0]!.trust_score_before).toBeCloseTo(before, 6);
  await play(network, agent, '++++');
  expect(await scoreOf(network, agent)).toBeGreaterThan(0.01);
  const { data: audited } = await network.admin(listAuditLogs, { query: { action: 'trust.adjust' } });
  expect(audited.map(({ after }) => after)).toMatchObject([{ reason: 'caught at it' }, { reason: 'audited by hand' }]);
});

test('a score is moved only where there is one to move, by somebody who may', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const body = { capability: 'work', delta: 0.1, reason: 'for the test' };
  const refused = (params: { agent_id: string }, other: object = {}) =>
    network.admin(adjustTrust, { params, body: { ...body, ...other } });
  const params = { agent_id: agent.agentId };
  await expect(refused(params, { capability: 'cooking' })).rejects.toMatchObject({
    code: 'validation-failed',
    errors: [{ pointer: '#/capability' }],
  });
  await expect(refused(params, { delta: 0 })).rejects.toMatchObject({ code: 'validation-failed' });
  await expect(refused(params, { delta: 1.01 })).rejects.toMatchObject({ code: 'validation-failed' });
  await expect(refused(params, { reason: '' })).rejects.toMatchObject({ code: 'validation-failed' });
  await expect(refused({ agent_id: 'agent_01h455vb4pex5vsknk084sn02q' })).rejects.toMatchObject({ code: 'not-found' });
  const owner = await makeKey(network, { scopes: ['agents:admin', 'agents:read'], owner: 'admin' });
  await expect(owner.call(adjustTrust, { params, body })).rejects.toMatchObject({ code: 'insufficient-scope' });
  expect(await network.admin(getTrustHistory, { params })).toMatchObject({ data: [] });
});

test('a replay shows what the evidence comes to, and corrects what differs only when asked to', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const params = { agent_id: agent.agentId };
  await play(network, agent, '++-+');
  await network.admin(adjustTrust, { params, body: { capability: 'work', delta: 0.1, reason: 'one more piece' } });
  await play(network, agent, '-+');
  const replay = async (dry_run: 'true' | 'false') =>
    (await network.admin(replayTrust, { params, query: { dry_run } })).capabilities[0]!;
  const clean = await replay('false');
  expect(clean).toMatchObject({ capability: 'work', corrected: false });
  expect(clean.difference).toBeLessThanOrEqual(1e-12);
  const score = await scoreOf(network, agent);
  await network.sql`update trust set dependable = dependable + 7 where agent_id = ${agent.agentId}`;
  const shown = await replay('true');
  expect(shown.difference).toBeCloseTo(7, 9);
  expect(shown.replayed!.trust_score).toBeCloseTo(score, 6);
  expect(shown.corrected).toBe(false);
  expect(await scoreOf(network, agent)).toBeCloseTo(shown.kept.trust_score, 6);
  expect((await replay('false')).corrected).toBe(true);
  expect(await scoreOf(network, agent)).toBeCloseTo(score, 6);
  const { data } = await network.admin(listAuditLogs, { query: { action: 'trust.replay' } });
  expect(data).toMatchObject([{ subject_id: agent.agentId, before: { capability: 'work' } }]);
});

test('what was found of an agent counts for who reads its trust or its history then, whoever was to fold it', async () => {
  const network = await startNetwork();
  for (const read of [getTrust, getTrustHistory] as const) {
    const agent = await network.rawAgent();
    await play(network, agent, '+');
    // As a coordinator leaves it that dies in that moment.
    await network.sql`
      insert into verdicts (fence, kind, task_id, agent_id, capability, found, vouched, weight, judge, at)
      select fence, 'canary', task_id, agent_id, capability, 'WRONG', false, 3, 'canary', muster_now() from runs where agent_id = ${agent.agentId}`;
    const answer = await network.admin(read as typeof getTrust, { params: { agent_id: agent.agentId } });
    expect(answer).toMatchObject(
      read === getTrust ? { standing: 'PROBATION' } : { data: [{ outcome: 'WRONG' }, { outcome: 'COMPLETED' }] },
    );
  }
});
