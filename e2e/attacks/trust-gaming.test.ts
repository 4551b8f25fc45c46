import { putCapabilities, searchAgents } from '@muster/shared/contract/agents';
import { listAuditLogs } from '@muster/shared/contract/audit';
import { previewRouting } from '@muster/shared/contract/routing';
import { createTask, getTask } from '@muster/shared/contract/tasks';
import { banAgent, getTrust, getTrustHistory, quarantineAgent, releaseAgent } from '@muster/shared/contract/trust';
import { newId } from '@muster/shared/ids';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { RawAgent } from '../fixtures/raw-agent.ts';
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

test('Q self-reported success: praise of its own, however often, makes no agent right, and no newcomer trusted', async () => {
  await work(Array(120).fill('COMPLETED'));
  const trust = (await scoreOf(stage.rivalAgent))!;
  expect(trust).toMatchObject({ integrity: 1, standing: 'NEWCOMER', completed: 120 });
  // As much as decay leaves of a hundred runs: 33 at most, which is 0.971.
  expect(trust.trust_score).toBeLessThan(0.972);
});

test('Q selective refusal: who gives back what it does not like is neither praised nor blamed for it', async () => {
  const before = await scoreOf(stage.rivalAgent);
  await work(Array(5).fill('RETURNED'));
  const after = (await scoreOf(stage.rivalAgent))!;
  // But for what fades meanwhile.
  const faded = { trust_score: 0, dependability: 0, confidence: 0 };
  expect({ ...after, ...faded }).toEqual({ ...before, ...faded });
  expect(after.trust_score).toBeCloseTo(before!.trust_score, 6);
});

/** A new agent of the owner's, for one capability. */
const join = async (capability: string, key?: RawAgent['key']) => {
  const { url, clock } = stage.coordinator;
  const agent = new RawAgent({ url, now: () => clock.now() }, key);
  await agent.register({ enrollment_token: stage.enrollment_token, capabilities: [capability], slots: 9 });
  return agent;
};
const submit = async (task_type: string, more: object = {}) =>
  (await stage.owner.call(createTask, { body: { task_type, input_data: null, ...more } })).task_id;
/** What an agent is given of these tasks: one that it asks for in a new life, one that it asks for, one that it waits for. */
const givenOf = async (agent: RawAgent, task_type: string, gate: object, wait_ms: number) => {
  await agent.assert(newId('boot'));
  const tasks = [await submit(task_type, gate)];
  const anew = (await agent.poll({ slots: 9 })).runs;
  tasks.push(await submit(task_type, gate));
  const asked = (await agent.poll({ slots: 9 })).runs;
  const waits = agent.poll({ slots: 9, wait_ms });
  await stage.coordinator.tick();
  tasks.push(await submit(task_type, gate));
  const waited = (await waits).runs;
  return { tasks, given: new Set([...anew, ...asked, ...waited].map(({ task_id }) => task_id)) };
};

test.each([
  ['just below', 2.9999975, 0.7999999],
  ['at', 3, 0.8],
])('Q score rounding at the gate: an agent %s it, however it asks', async (where, dependable, score) => {
  const task_type = `gate-${dependable}`;
  const agent = await join(task_type);
  // It does not fade before a day is over.
  await stage.coordinator.sql`
    insert into trust (agent_id, capability, dependable, undependable, completed, failed, timed_out, lost, fold_seq, updated_at)
    values (${agent.agentId}, ${task_type}, ${dependable}, 0, 3, 0, 0, 0, 3, muster_now() + interval '1 day')`;
  expect((await scoreOf(agent, task_type))!.trust_score).toBeCloseTo(score, 9);
  const { tasks, given } = await givenOf(agent, task_type, { min_trust: 0.8 }, where === 'at' ? 20_000 : 400);
  expect(given).toEqual(new Set(where === 'at' ? tasks : []));
  const found = async (min_trust: number) =>
    (await stage.admin(searchAgents, { query: { capability: task_type, min_trust } })).data.length;
  expect([await found(0.8), await found(0.7999)]).toEqual([where === 'at' ? 1 : 0, 1]);
  const body = { task_type, owner: 'acme', min_trust: 0.8 };
  const [candidate] = (await stage.admin(previewRouting, { body })).candidates.filter(
    (it) => it.agent_id === agent.agentId,
  );
  const reason = where === 'at' ? 'may have it, but no poll of it waits here' : 'trust 0.7999999 is below 0.8';
  expect(candidate).toMatchObject({ able: where === 'at', reason });
});

test('Q duplicate reports: a result said three times in one breath, and twenty times at once by both doors, is one piece of evidence', async () => {
  const agent = await join('twice');
  await submit('twice');
  const run = await agent.take();
  const done = { outcome: 'COMPLETED' as const, result_data: null };
  const said = { run_id: run.run_id, fence: run.fence, ...done };
  await agent.poll({ slots: 0, results: [said, said, said] });
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => (n % 2 ? agent.report(run, done) : agent.poll({ slots: 0, results: [said] }))),
  );
  expect(await scoreOf(agent, 'twice')).toMatchObject({ completed: 1, failed: 0, integrity: 1 });
});

test('Q abort to avoid verification: a run that its agent lets go of before it is checked counts against it, and another does the task', async () => {
  const [shy, other] = [await join('checked'), await join('checked')];
  const task_id = await submit('checked', { verification: { policy: 'always', comparator: { kind: 'exact' } } });
  await shy.take();
  const before = (await scoreOf(shy, 'checked'))?.trust_score ?? 0.5;
  await stage.coordinator.sql`
    update presence set lease_expires_at = muster_now() - interval '1 second' where agent_id = ${shy.agentId}`;
  await stage.coordinator.clock.advance('1s');
  const after = (await scoreOf(shy, 'checked'))!;
  expect(after).toMatchObject({ lost: 1, completed: 0 });
  expect(after.trust_score).toBeLessThan(before);
  expect(await other.take()).toMatchObject({ task_id, attempt: 2 });
});

test('Q whitewash: with its key an agent is who it was; with another it is a stranger, whom no gate lets in and everything of whom is checked', async () => {
  const agent = await join('washed');
  await stage.admin(quarantineAgent, { params: { agent_id: agent.agentId }, body: { reason: 'caught in the act' } });
  const same = await join('washed', agent.key);
  expect(same.agentId).toBe(agent.agentId);
  await submit('washed');
  expect((await same.poll({ slots: 9 })).runs).toEqual([]);
  const stranger = await join('washed');
  expect(await stage.admin(getTrust, { params: { agent_id: stranger.agentId } })).toMatchObject({
    standing: 'NEWCOMER',
    trust_score: 0.5,
  });
  const gated = await givenOf(stranger, 'washed', { min_integrity: 0.1 }, 400);
  expect(gated.tasks.filter((task_id) => gated.given.has(task_id))).toEqual([]);
  const checked = await submit('washed', { verification: { policy: 'adaptive', comparator: { kind: 'exact' } } });
  const run = (await stranger.poll({ slots: 9 })).runs.find(({ task_id }) => task_id === checked)!;
  await stranger.complete(run, 'x');
  const task = await stage.owner.call(getTask, { params: { task_id: checked } });
  expect(task).toMatchObject({ status: 'VERIFYING', finality: null });
});

const WHY = { reason: 'caught in the act' };
const paramsOf = (agent: RawAgent) => ({ agent_id: agent.agentId });

test('Q capability hopping, admin override audited: what an agent is called anew it has shown nothing of, and a ban of the agent holds for that, too', async () => {
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

test('Q clock-shifted evidence: one verdict said many times is one, and by whose clock it comes is no matter', async () => {
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

test("Q guessed fence: another's moves nothing, neither its holder's trust nor that of who guessed it", async () => {
  const [holder, thief] = [stage.agent, stage.rivalAgent];
  const trusts = () =>
    Promise.all(
      [holder, thief].map(
        (it) => stage.coordinator.sql`select * from trust where agent_id = ${it.agentId} order by capability`,
      ),
    );
  const before = await trusts();
  for (const outcome of ['COMPLETED', 'FAILED', 'RETURNED'] as const)
    await expect(thief.report(stage.run, { outcome })).rejects.toMatchObject({ status: 409 });
  expect(await trusts()).toEqual(before);
});

// The last, for it lets more time pass than tokens are good for.
test('Q decay to escape quarantine: who waits out of sight, works on or restarts is as quarantined as before; only its time ends it, and nothing ends a ban', async () => {
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
