import { getAgent, searchAgents } from '@muster/shared/contract/agents';
import { getLeaderboard, getTrust, getTrustHistory } from '@muster/shared/contract/trust';
import { expect, test } from 'vitest';
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
  const moves = scores.slice(1).map((score, n) => Math.sign(score - scores[n]!));
  expect(moves).toEqual([1, 1, 1, -1, -1, 0, 1]);
  expect(scores.every((score) => score > 0 && score < 1)).toBe(true);
  const trust = await network.admin(getTrust, { params: { agent_id: agent.agentId } });
  expect(trust.capabilities).toMatchObject([
    { capability: 'work', completed: 4, failed: 2, timed_out: 0, lost: 0, integrity: 1 },
  ]);
  const shown = await network.admin(getAgent, { params: { agent_id: agent.agentId } });
  expect(shown.trust_score).toBeCloseTo(scores.at(-1)!, 9);
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
    expect(trust_score_before).toBeCloseTo(score, 9);
    expect(trust_delta).toBeCloseTo(trust_score_after! - trust_score_before!, 9);
    expect(Math.sign(trust_delta!)).toBe(outcome === 'COMPLETED' ? 1 : -1);
    expect(reason).toMatch(outcome === 'COMPLETED' ? /completed/ : /it broke/);
    score = trust_score_after!;
  }
  expect(score).toBeCloseTo(await scoreOf(network, agent), 9);
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
