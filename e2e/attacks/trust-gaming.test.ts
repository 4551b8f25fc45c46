import { putCapabilities, searchAgents } from '@muster/shared/contract/agents';
import { listAuditLogs } from '@muster/shared/contract/audit';
import { createTask } from '@muster/shared/contract/tasks';
import {
  adjustTrust,
  banAgent,
  getTrust,
  getTrustHistory,
  quarantineAgent,
  releaseAgent,
} from '@muster/shared/contract/trust';
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
const say = (as: Forged['as'] & string, verb: string, body: unknown = { reason: 'so' }): Forged => ({
  as,
  path: (it: Stage) => `/ains/agents/${it.agent.agentId}/${verb}`,
  body,
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
  ...(['agent', 'owner', 'rival'] as const).flatMap((as) => [
    row(`a ${as} is released by its own word`, say(as, 'release'), 403, 'insufficient-scope'),
    row(`a ${as} has another banned`, say(as, 'ban'), 403, 'insufficient-scope'),
  ]),
  row(
    'an agent makes itself trusted',
    adjust('agent', { ...WORD, delta: undefined, standing: 'TRUSTED' }),
    403,
    'insufficient-scope',
  ),
  ...(['agent', 'owner'] as const).map((as) =>
    row(
      `an anchor by the word of its ${as}`,
      { as, method: 'PATCH', path: (it: Stage) => `/ains/agents/${it.agent.agentId}`, body: { anchor: true } },
      403,
      'insufficient-scope',
    ),
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
  ...[{ standing: 'NEWCOMER' }, { standing: 'BEST' }, { standing: null }, {}].map((instead) =>
    row(
      `a word that says ${JSON.stringify(instead)} and no more`,
      adjust('admin', { capability: 'work', reason: 'so', ...instead }),
      422,
      'validation-failed',
    ),
  ),
  ...[{ capability: '*' }, { capability: 'root' }, { until: '2020-01-01T00:00:00Z' }, { reason: '' }].map((more) =>
    row(
      `a quarantine that says ${JSON.stringify(more)}`,
      say('admin', 'quarantine', { reason: 'so', ...more }),
      422,
      'validation-failed',
    ),
  ),
  row('a release of one that is not out', say('admin', 'release'), 409, 'conflict'),
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
  for (const [n, outcome] of outcomes.entries()) {
    // However slow the machine is, its lease lasts.
    if (n % 20 === 0) await agent.beat();
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
  const after = (await scoreOf(stage.rivalAgent))!;
  // But for what fades meanwhile.
  const faded = { trust_score: 0, dependability: 0, confidence: 0 };
  expect({ ...after, ...faded }).toEqual({ ...before, ...faded });
  expect(after.trust_score).toBeCloseTo(before!.trust_score, 6);
});

test('a score just below a bound is below it', async () => {
  const { agentId: agent_id } = stage.rivalAgent;
  const { trust_score } = (await scoreOf(stage.rivalAgent))!;
  const params = { agent_id };
  await stage.admin(adjustTrust, { params, body: { ...WORD, delta: 0.79999 - trust_score } });
  expect((await scoreOf(stage.rivalAgent))!.trust_score).toBeCloseTo(0.79999, 6);
  const found = async (min_trust: number) =>
    (await stage.admin(searchAgents, { query: { min_trust } })).data.some((agent) => agent.agent_id === agent_id);
  expect([await found(0.8), await found(0.7999)]).toEqual([false, true]);
  const { data } = await stage.admin(getTrustHistory, { params, query: { limit: 1 } });
  expect(data).toMatchObject([{ outcome: 'ADJUSTED', reason: expect.stringContaining('it is very good') }]);
});

const WHY = { reason: 'caught in the act' };
const paramsOf = (agent: RawAgent) => ({ agent_id: agent.agentId });

test('what an agent is called anew it has shown nothing of, and a ban of the agent holds for that, too', async () => {
  const agent = stage.rivalAgent;
  await agent.call(putCapabilities, { params: paramsOf(agent), body: { capabilities: ['fresh'] } });
  await work(['COMPLETED'], 'fresh');
  expect(await scoreOf(agent, 'fresh')).toMatchObject({ standing: 'NEWCOMER', completed: 1 });
  await stage.admin(banAgent, { params: paramsOf(agent), body: WHY });
  await agent.call(putCapabilities, { params: paramsOf(agent), body: { capabilities: ['work', 'fresher'] } });
  const trust = await stage.admin(getTrust, { params: paramsOf(agent) });
  expect(trust).toMatchObject({ standing: 'BANNED', standing_reason: 'banned: caught in the act' });
  await stage.admin(releaseAgent, { params: paramsOf(agent), body: WHY });
  const { data } = await stage.admin(listAuditLogs, { query: { subject_id: agent.agentId, limit: 2 } });
  expect(data.map(({ action, after }) => [action, (after as { reason: string }).reason])).toEqual([
    ['agent.release', WHY.reason],
    ['agent.ban', WHY.reason],
  ]);
});

test('one verdict said many times is one, and by whose clock it comes is no matter', async () => {
  const agent = stage.rivalAgent;
  const { sql, clock } = stage.coordinator;
  const find = (at: Date) => sql`
    insert into verdicts (fence, kind, task_id, agent_id, capability, found, vouched, weight, judge, at)
    select 1, 'audit', ${stage.task_id}, ${agent.agentId}, 'work', 'RIGHT', true, 1, 'audit', ${at} on conflict do nothing`;
  const now = await clock.now();
  for (const at of [now, now, new Date(0)]) await find(at);
  // The future is no head start: what is checked next fades from now on.
  await stage.coordinator.clock.advance('1s');
  const { data } = await stage.admin(getTrustHistory, { params: paramsOf(agent), query: { capability: 'work' } });
  expect(data.filter(({ outcome }) => outcome === 'RIGHT')).toMatchObject([
    { reason: `found right by audit on task ${stage.task_id}` },
  ]);
});

test("another's fence moves nothing, neither its holder's trust nor that of who guessed it", async () => {
  const [holder, thief] = [stage.agent, stage.rivalAgent];
  const trusts = () =>
    Promise.all([holder, thief].map((it) => stage.coordinator.sql`select * from trust where agent_id = ${it.agentId}`));
  const before = await trusts();
  for (const outcome of ['COMPLETED', 'FAILED', 'RETURNED'] as const)
    await expect(thief.report(stage.run, { outcome })).rejects.toMatchObject({ status: 409 });
  expect(await trusts()).toEqual(before);
});

// The last, for it lets more time pass than tokens are good for.
test('who waits out of sight, works on or restarts is as quarantined as before; only its time ends it, and nothing ends a ban', async () => {
  const agent = stage.rivalAgent;
  await stage.admin(quarantineAgent, { params: paramsOf(agent), body: { capability: 'work', ...WHY } });
  const standing = async () => (await scoreOf(agent))!.standing;
  await stage.coordinator.clock.advance('23h');
  await agent.assert();
  await agent.beat();
  expect(await standing()).toBe('QUARANTINED');
  await stage.admin(banAgent, { params: paramsOf(agent), body: { capability: 'work', ...WHY } });
  await stage.coordinator.clock.advance('400d');
  expect(await standing()).toBe('BANNED');
  await agent.assert();
  await stage.admin(releaseAgent, { params: paramsOf(agent), body: { capability: 'work', ...WHY } });
  expect(await standing()).toBe('PROBATION');
});
