import { searchAgents } from '@muster/shared/contract/agents';
import { createTask } from '@muster/shared/contract/tasks';
import { adjustTrust, getTrust, getTrustHistory } from '@muster/shared/contract/trust';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { RawAgent } from '../fixtures/raw-agent.ts';
import { type Forged, forge, numbered } from './requests.ts';
import { type Attack, attacks, type Stage, setStage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(() => stage.coordinator.stop());
// What they hold must not end under an attack by itself.
beforeEach(() => Promise.all([stage.agent, stage.rivalAgent].map((agent) => agent.beat())));

type Row = Omit<Attack, 'id'>;
const WORD = { capability: 'work', delta: 0.4, reason: 'it is very good' };

const trustOf =
  (path: string, of: 'agent' | 'rivalAgent' = 'agent') =>
  (it: Stage) =>
    `/ains/agents/${it[of].agentId}/trust${path}`;
const row = (what: string, forged: Forged, status: Row['status'], code?: NonNullable<Row['code']>): Row => ({
  what,
  send: (it) => forge(it, forged),
  status,
  ...(code ? { code } : {}),
});
const adjust = (as: Forged['as'] & string, body: unknown = WORD): Forged => ({ as, path: trustOf('/adjust'), body });

const BY_WHOM = [
  row('an agent raises its own score', adjust('agent'), 403, 'insufficient-scope'),
  row(
    "an agent lowers another's score",
    { ...adjust('rivalAgent'), body: { ...WORD, delta: -1 } },
    403,
    'insufficient-scope',
  ),
  row("an owner raises its agent's score", adjust('owner'), 403, 'insufficient-scope'),
  row("a rival lowers a rival's score", adjust('rival', { ...WORD, delta: -1 }), 403, 'insufficient-scope'),
  row('nobody raises a score', adjust('nobody'), 401, 'unauthenticated'),
  row(
    'an agent has its evidence folded anew',
    { as: 'agent', method: 'POST', path: trustOf('/replay') },
    403,
    'insufficient-scope',
  ),
  row(
    'an owner has the evidence folded anew',
    { as: 'owner', method: 'POST', path: trustOf('/replay') },
    403,
    'insufficient-scope',
  ),
  row(
    "an agent reads another's history",
    { as: 'agent', path: trustOf('/history', 'rivalAgent') },
    403,
    'insufficient-scope',
  ),
  row("an owner reads a rival's history", { as: 'owner', path: trustOf('/history', 'rivalAgent') }, 404, 'not-found'),
];

const WITH_WHAT = [
  ...['1e309', '-1e309', 'NaN', '"0.4"', 'null', '[0.4]', '0', '-0', '1.0000001'].map((delta) =>
    row(
      `a delta of ${delta}`,
      adjust('admin', `{"capability":"work","reason":"so","delta":${delta}}`),
      [400, 422],
      ['malformed-request', 'validation-failed'],
    ),
  ),
  ...[
    { standing: 'TRUSTED' },
    { integrity: 1 },
    { dependable: 1e9 },
    { fold_seq: 1 },
    { at: '2020-01-01T00:00:00Z' },
    { actor: 'key_x' },
  ].map((more) =>
    row(
      `a word that also says ${JSON.stringify(more)}`,
      adjust('admin', { ...WORD, ...more }),
      422,
      'validation-failed',
    ),
  ),
  row('for what it cannot do', adjust('admin', { ...WORD, capability: 'root' }), 422, 'validation-failed'),
  row('for no reason', adjust('admin', { ...WORD, reason: '' }), 422, 'validation-failed'),
];

attacks(() => stage, numbered('Q', [...BY_WHOM, ...WITH_WHAT]));

const scoreOf = async (agent: RawAgent, capability = 'work') =>
  (await stage.admin(getTrust, { params: { agent_id: agent.agentId } })).capabilities.find(
    (it) => it.capability === capability,
  );
/** The rival's agent works for its owner, which says how each run ends. */
const work = async (outcomes: readonly ('COMPLETED' | 'RETURNED')[], task_type = 'work') => {
  const agent = stage.rivalAgent;
  for (const outcome of outcomes) {
    await stage.rival.call(createTask, { body: { task_type, input_data: null } });
    const run = await agent.take();
    await agent.report(run, { outcome });
  }
};

test('praise of its own, however often, makes no agent right, and no newcomer trusted', async () => {
  await work(Array(120).fill('COMPLETED'));
  const trust = (await scoreOf(stage.rivalAgent))!;
  expect(trust).toMatchObject({ integrity: 1, standing: 'NEWCOMER', completed: 120 });
  // As much as decay leaves of a hundred runs: 33 at most, which is 0.971.
  expect(trust.trust_score).toBeLessThan(0.972);
});

test('who gives back what it does not like is neither praised nor blamed for it', async () => {
  const before = await scoreOf(stage.rivalAgent);
  await work(Array(5).fill('RETURNED'));
  expect(await scoreOf(stage.rivalAgent)).toEqual(before);
});

test('a score just below a bound is below it', async () => {
  const { agentId: agent_id } = stage.rivalAgent;
  const { trust_score } = (await scoreOf(stage.rivalAgent))!;
  const params = { agent_id };
  await stage.admin(adjustTrust, { params, body: { ...WORD, delta: 0.7999999 - trust_score } });
  expect((await scoreOf(stage.rivalAgent))!.trust_score).toBeCloseTo(0.7999999, 9);
  const found = async (min_trust: number) =>
    (await stage.admin(searchAgents, { query: { min_trust } })).data.some((agent) => agent.agent_id === agent_id);
  expect([await found(0.8), await found(0.7999998)]).toEqual([false, true]);
  const { data } = await stage.admin(getTrustHistory, { params, query: { limit: 1 } });
  expect(data).toMatchObject([{ outcome: 'ADJUSTED', reason: expect.stringContaining('it is very good') }]);
});
