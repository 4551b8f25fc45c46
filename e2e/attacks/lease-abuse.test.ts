import { cordonAgent, deleteAgent } from '@muster/shared/contract/agents';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { cancelTask, createTask, getTask } from '@muster/shared/contract/tasks';
import type { ProblemCode } from '@muster/shared/errors';
import { newId, runIdOf } from '@muster/shared/ids';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { numbered } from './requests.ts';
import { type Answer, type Attack, ask, attacks, type Stage, setStage } from './stage.ts';

type Run = { run_id: string; fence: number };

/** What agents hold and held: each run in another state, and agents that are not what they were. */
interface Cast {
  completed: Run;
  failed: Run;
  /** Its task was cancelled and the agent has said that it stopped. */
  stopped: Run;
  /** Of the life before the last. */
  lost: Run;
  /** It has started again; the token is of its former life. */
  rebooted: RawAgent;
  formerToken: string;
  formerBoot: string;
  /** What it holds in its new life. */
  renewed: Run;
  revoked: RawAgent;
  /** May do `work` on one slot, by its enrolment. */
  bounded: RawAgent;
  cordoned: RawAgent;
  departed: RawAgent;
}

let stage: Stage;
let cast: Cast;

const nowOf = ({ coordinator }: Stage) => ({ url: coordinator.url, now: () => coordinator.clock.now() });
const submit = async ({ owner }: Stage, task_type = 'work') =>
  (await owner.call(createTask, { body: { task_type, input_data: null } })).task_id;

async function castFor(it: Stage): Promise<Cast> {
  const join = async (capability: string, slots = 4, bounds: object = {}) => {
    const { enrollment_token } = await it.owner.call(createEnrollmentToken, { body: bounds });
    return RawAgent.register(nowOf(it), { enrollment_token, capabilities: [capability], slots });
  };
  const hold = async (agent: RawAgent, type: string) => {
    const task_id = await submit(it, type);
    const { run_id, fence } = await agent.take();
    return { task_id, run_id, fence };
  };
  const past = await join('past');
  const completed = await hold(past, 'past');
  await past.complete(completed);
  const failed = await hold(past, 'past');
  await past.fail(failed, { message: 'no', retryable: false });
  const { task_id, ...stopped } = await hold(past, 'past');
  await it.owner.call(cancelTask, { params: { task_id } });
  await past.report(stopped, { outcome: 'CANCELLED' });
  const rebooted = await join('lives');
  const lost = await hold(rebooted, 'lives');
  const [formerToken, formerBoot] = [rebooted.token, rebooted.bootId];
  await rebooted.assert(newId('boot'));
  const renewed = await rebooted.take();
  const [revoked, cordoned, departed] = [await join('work'), await join('idle'), await join('work')];
  await it.owner.call(deleteAgent, { params: { agent_id: revoked.agentId } });
  await it.owner.call(cordonAgent, { params: { agent_id: cordoned.agentId } });
  await departed.leave();
  const bounded = await join('bounded', 1, { capabilities: ['bounded'], max_slots: 1 });
  // What nobody may have of these, for those who try.
  for (const type of ['idle', 'nobody']) await submit(it, type);
  Object.assign(it, { past });
  return {
    completed,
    failed,
    stopped,
    lost,
    rebooted,
    formerToken,
    formerBoot,
    renewed,
    revoked,
    bounded,
    cordoned,
    departed,
  };
}

beforeAll(async () => {
  stage = await setStage();
  cast = await castFor(stage);
});
afterAll(() => stage.coordinator.stop());
// A lease of the cast must not end under an attack by itself.
beforeEach(() =>
  Promise.all([stage.agent, stage.rivalAgent, cast.rebooted, cast.bounded].map((agent) => agent.beat())),
);

/** Says something as an agent; `json` may be text that no object comes to. */
function say(token: string, path: string, json: unknown, method = 'POST'): Promise<Answer> {
  return ask(stage.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: typeof json === 'string' ? json : JSON.stringify(json),
  });
}
const result = (agent: { token: string }, { run_id, fence }: Run, more: object = {}) =>
  say(agent.token, `/aitp/runs/${run_id}/result`, { fence, outcome: 'COMPLETED', result_data: 'mine', ...more });
const begin = (agent: { token: string }, { run_id, fence }: Run) =>
  say(agent.token, `/aitp/runs/${run_id}/start`, { fence });
const progress = (agent: { token: string }, { run_id, fence }: Run, more: object = {}) =>
  say(agent.token, `/aitp/runs/${run_id}/progress`, { fence, ...more });
const pathOf = (agent: RawAgent, verb: string) => `/ains/agents/${agent.agentId}/${verb}`;
const BEAT = { status: 'ACTIVE', slots_free: 1, runs: [] };
const beat = (agent: RawAgent, more: object = {}) =>
  say(agent.token, pathOf(agent, 'heartbeat'), { boot_id: agent.bootId, ...BEAT, ...more });
const poll = (agent: RawAgent, more: object = {}) =>
  say(agent.token, pathOf(agent, 'poll'), { boot_id: agent.bootId, slots: 1, wait_ms: 0, ...more });
const reported = (agent: RawAgent, { run_id, fence }: Run, more: object = {}) =>
  poll(agent, { slots: 0, results: [{ run_id, fence, outcome: 'COMPLETED', ...more }] });

/** An answer that is a success and says this. */
async function saying(answer: Promise<Answer>, said: object): Promise<Answer> {
  const it = await answer;
  expect(JSON.parse(it.body), it.body).toMatchObject(said);
  return it;
}
const refusedInPoll = (answer: Promise<Answer>, code: string) =>
  saying(answer, { runs: [], results: [{ applied: false, code }] });

const moved = ({ fence }: Run, by: number): Run => ({ run_id: runIdOf(fence + by), fence: fence + by });
const withFence = ({ run_id }: Run, fence: unknown) => ({ run_id, fence }) as Run;
type Row = Omit<Attack, 'id'>;
const row = (
  what: string,
  send: Attack['send'],
  status: Attack['status'],
  code?: ProblemCode,
  more: Partial<Attack> = {},
): Row => ({ what, send, status, ...(code ? { code } : {}), ...more });
const stale = (what: string, send: Attack['send']) => row(what, send, 409, 'stale-lease');
const invalid = (what: string, send: Attack['send']) => row(what, send, 422, 'validation-failed');

/** Runs of others. */
const OF_OTHERS: Row[] = [
  stale("the result of another agent's run", (it) => result(it.rivalAgent, it.run)),
  stale("the start of another agent's run", (it) => begin(it.rivalAgent, it.run)),
  stale("the progress of another agent's run", (it) => progress(it.rivalAgent, it.run, { percent: 99 })),
  row(
    "another agent's run in a beat",
    (it) =>
      saying(
        beat(it.rivalAgent, {
          runs: [it.run].map(({ run_id, fence }) => ({ run_id, fence, started: true, progress: { percent: 1 } })),
        }),
        { lost: [it.run.run_id], cancel: [] },
      ),
    200,
    undefined,
    { changes: ['presence'] },
  ),
  row(
    "the result of another agent's run in a poll",
    (it) => refusedInPoll(reported(it.rivalAgent, it.run), 'stale-lease'),
    200,
  ),
  row(
    "another agent's run held",
    (it) => saying(poll(it.rivalAgent, { holding: [it.run.run_id] }), { runs: [], results: [] }),
    200,
  ),
  stale("an owner's other agent with the run of the first", (it) => result(cast.bounded, it.run)),
  stale('a CANCELLED for a run of another', (it) => result(it.rivalAgent, it.run, { outcome: 'CANCELLED' })),
  stale('a RETURNED for a run of another, to make it start anew', (it) =>
    result(it.rivalAgent, it.run, { outcome: 'RETURNED' }),
  ),
  row(
    "another agent's beat",
    (it) => say(it.rivalAgent.token, pathOf(it.agent, 'heartbeat'), { boot_id: it.agent.bootId, ...BEAT }),
    403,
    'insufficient-scope',
  ),
  row(
    "another agent's poll",
    (it) => say(it.rivalAgent.token, pathOf(it.agent, 'poll'), { boot_id: it.agent.bootId, slots: 1, wait_ms: 0 }),
    403,
    'insufficient-scope',
  ),
  row(
    "another agent's leave",
    (it) => say(it.rivalAgent.token, pathOf(it.agent, 'leave'), { boot_id: it.agent.bootId }),
    403,
    'insufficient-scope',
  ),
  row(
    "another agent's capabilities",
    (it) => say(it.rivalAgent.token, pathOf(it.agent, 'capabilities'), { capabilities: ['other'] }, 'PUT'),
    403,
    'insufficient-scope',
  ),
  row(
    "another agent's slots",
    (it) => say(it.rivalAgent.token, `/ains/agents/${it.agent.agentId}`, { slots: 1 }, 'PATCH'),
    403,
    'insufficient-scope',
  ),
  row(
    'the cancelling of a task by an agent',
    (it) => say(it.agent.token, `/aitp/tasks/${it.task_id}/cancel`, {}),
    403,
    'insufficient-scope',
  ),
  row(
    'the submit of a task by an agent',
    (it) => say(it.agent.token, '/aitp/tasks', { task_type: 'work', input_data: 1 }),
    403,
    'insufficient-scope',
  ),
];

/** Fences that are guessed. */
const GUESSED: Row[] = [
  stale('the next fence, which nobody has claimed', (it) => result(it.agent, moved(it.run, 1_000_000))),
  stale('one more', (it) => result(it.agent, moved(it.run, 1))),
  stale('one less', () => result(cast.rebooted, moved(cast.renewed, -1))),
  stale('the run with one more', (it) => result(it.agent, withFence(it.run, it.run.fence + 1))),
  stale('the run with one less', () => result(cast.rebooted, withFence(cast.renewed, cast.renewed.fence - 1))),
  stale('the fence with the run after it', (it) => result(it.agent, { ...it.run, run_id: runIdOf(it.run.fence + 1) })),
  stale('the start of a run nobody has claimed', (it) => begin(it.agent, moved(it.run, 1_000_000))),
  stale('the progress of a run nobody has claimed', (it) => progress(it.agent, moved(it.run, 1_000_000))),
  row(
    'a fence that is not of the run it names, in a poll',
    (it) => refusedInPoll(reported(it.agent, withFence(it.run, it.run.fence + 1)), 'stale-lease'),
    200,
  ),
  row(
    'a fence that is not of the run it names, in a beat',
    (it) =>
      saying(
        beat(it.agent, {
          runs: [withFence(it.run, it.run.fence + 1)].map(({ run_id, fence }) => ({ run_id, fence, started: true })),
        }),
        { lost: [it.run.run_id] },
      ),
    200,
    undefined,
    { changes: ['presence'] },
  ),
  ...(
    [
      ['0', 0],
      ['less than none', -1],
      ['a fraction', 1.5],
      ['text', '1'],
      ['past what is counted exactly', 2 ** 53],
      ['nothing', null],
      ['a list', [1]],
    ] as const
  ).map(([what, fence]) => invalid(`a fence that is ${what}`, (it) => result(it.agent, withFence(it.run, fence)))),
  invalid('a fence without end', (it) =>
    say(it.agent.token, `/aitp/runs/${it.run.run_id}/result`, `{"fence":1e999,"outcome":"COMPLETED"}`),
  ),
  row(
    'a fence that is not a number',
    (it) => say(it.agent.token, `/aitp/runs/${it.run.run_id}/result`, `{"fence":NaN,"outcome":"COMPLETED"}`),
    400,
    'malformed-request',
  ),
  row(
    'a run id past every fence',
    (it) =>
      say(it.agent.token, `/aitp/runs/run_${'z'.repeat(13)}/result`, { fence: it.run.fence, outcome: 'COMPLETED' }),
    409,
    'stale-lease',
  ),
  row(
    'a run id that is a fence',
    (it) => say(it.agent.token, `/aitp/runs/${it.run.fence}/result`, { fence: it.run.fence, outcome: 'COMPLETED' }),
    400,
    'invalid-id',
  ),
];

/** Runs that are over. */
const OVER: Row[] = [
  ...(['FAILED', 'CANCELLED', 'RETURNED', 'TIMED_OUT'] as const).map((outcome) =>
    stale(`${outcome} after COMPLETED`, () => result(pastAgent(), cast.completed, { outcome })),
  ),
  stale('COMPLETED after FAILED', () => result(pastAgent(), cast.failed)),
  stale('the start of a run that has completed', () => begin(pastAgent(), cast.completed)),
  stale('the progress of a run that has completed', () => progress(pastAgent(), cast.completed, { percent: 10 })),
  row(
    'COMPLETED twice, with other data',
    () =>
      saying(result(pastAgent(), cast.completed, { result_data: 'another' }), {
        applied: false,
        task_status: 'COMPLETED',
      }),
    200,
  ),
  row('COMPLETED after the cancel was acknowledged', () => result(pastAgent(), cast.stopped), 409, 'task-terminal'),
  row('the same in a poll', () => refusedInPoll(reported(pastAgent(), cast.stopped), 'task-terminal'), 200),
  row(
    'CANCELLED twice',
    () => saying(result(pastAgent(), cast.stopped, { outcome: 'CANCELLED' }), { applied: false }),
    200,
  ),
  stale("the result of a former life's run", () => result(cast.rebooted, cast.lost)),
  stale("the progress of a former life's run", () => progress(cast.rebooted, cast.lost)),
  row(
    "a former life's run held",
    () => saying(poll(cast.rebooted, { slots: 0, holding: [cast.renewed.run_id, cast.lost.run_id] }), { runs: [] }),
    200,
  ),
  ...(['RUNNING', 'ASSIGNED', 'PENDING', 'LOST', 'DISPUTED', 'completed', ''] as const).map((outcome) =>
    invalid(`an outcome ${JSON.stringify(outcome)}`, (it) => result(it.agent, it.run, { outcome })),
  ),
];
const pastAgent = () => (stage as Stage & { past: RawAgent }).past;

const former = () => ({ token: cast.formerToken });
/** Lives that are over. */
const FORMER_LIVES: Row[] = [
  row(
    'the beat of a former life',
    () => say(cast.formerToken, pathOf(cast.rebooted, 'heartbeat'), { boot_id: cast.formerBoot, ...BEAT }),
    409,
    'stale-lease',
  ),
  row(
    'the poll of a former life',
    () => say(cast.formerToken, pathOf(cast.rebooted, 'poll'), { boot_id: cast.formerBoot, slots: 1, wait_ms: 0 }),
    409,
    'stale-lease',
  ),
  row(
    "a former life's token with the new life's name",
    () => say(cast.formerToken, pathOf(cast.rebooted, 'heartbeat'), { boot_id: cast.rebooted.bootId, ...BEAT }),
    409,
    'stale-lease',
  ),
  row(
    'the leave of a former life',
    () => say(cast.formerToken, pathOf(cast.rebooted, 'leave'), { boot_id: cast.formerBoot }),
    409,
    'stale-lease',
  ),
  stale('what a former life says of its own run', () => result(former(), cast.lost)),
  stale("what a former life says of the new life's run", () => result(former(), cast.renewed)),
  stale("what a former life says of the new life's progress", () => progress(former(), cast.renewed)),
  row(
    "a former life's poll with the new life's result",
    () =>
      say(cast.formerToken, pathOf(cast.rebooted, 'poll'), {
        boot_id: cast.formerBoot,
        slots: 0,
        wait_ms: 0,
        results: [{ ...runOf(cast.renewed), outcome: 'COMPLETED' }],
      }),
    409,
    'stale-lease',
  ),
  row('a beat for a life that never was', (it) => beat(it.agent, { boot_id: newId('boot') }), 409, 'stale-lease'),
  row('the beat of a revoked agent', () => beat(cast.revoked), 401, 'token-revoked'),
  row('the poll of a revoked agent', () => poll(cast.revoked), 401, 'token-revoked'),
  row('the result of a revoked agent', (it) => result(cast.revoked, it.run), 401, 'token-revoked'),
  row(
    'the new token of a revoked agent',
    async () =>
      ask(`${stage.url}${pathOf(cast.revoked, 'token')}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ assertion: await cast.revoked.assertionOf() }),
      }),
    401,
    'token-revoked',
  ),
  row('the beat of an agent that has left', () => beat(cast.departed), 409, 'stale-lease'),
  row('the poll of an agent that has left', () => poll(cast.departed), 409, 'stale-lease'),
];
const runOf = ({ run_id, fence }: Run): Run => ({ run_id, fence });

const none = (answer: Promise<Answer>) => saying(answer, { runs: [] });
/** More work than one may have. */
const TOO_MUCH: Row[] = [
  row('work without the capability', (it) => none(poll(it.agent, { slots: 10 })), 200),
  row("another owner's work", (it) => none(poll(it.rivalAgent, { slots: 10 })), 200),
  row('work for an agent that is cordoned', () => none(poll(cast.cordoned, { slots: 4 })), 200),
  row(
    'a capability beyond the enrolment',
    () => say(cast.bounded.token, pathOf(cast.bounded, 'capabilities'), { capabilities: ['bounded', 'nobody'] }, 'PUT'),
    403,
    'insufficient-scope',
  ),
  row(
    'slots beyond the enrolment',
    () => say(cast.bounded.token, `/ains/agents/${cast.bounded.agentId}`, { slots: 100 }, 'PATCH'),
    403,
    'insufficient-scope',
  ),
  ...([10_001, -1, 1.5, '2', null] as const).map((slots) =>
    invalid(`${JSON.stringify(slots)} slots wanted`, (it) => poll(it.agent, { slots })),
  ),
  invalid('a wait of an hour', (it) => poll(it.agent, { wait_ms: 3_600_000 })),
  invalid('a wait of less than nothing', (it) => poll(it.agent, { wait_ms: -1 })),
  row(
    'more runs than one has slots',
    async (it) => {
      for (let n = 0; n < 4; n += 1) await submit(it, 'bounded');
      return poll(cast.bounded, { slots: 10_000 });
    },
    200,
    undefined,
    { changes: true, after: atMostItsSlots },
  ),
  row('and the next poll', () => none(poll(cast.bounded, { slots: 10_000, holding: [] }).then(onlyWhatItHad)), 200),
  row(
    'and twenty at once',
    async () => (await Promise.all(Array.from({ length: 20 }, () => poll(cast.bounded, { slots: 10_000 }))))[0]!,
    200,
    undefined,
    { after: atMostItsSlots },
  ),
];

async function atMostItsSlots({ coordinator }: Stage): Promise<void> {
  const [held] = await coordinator.sql`select count(*)::int as n from leases where agent_id = ${cast.bounded.agentId}`;
  expect(held).toEqual({ n: 1 });
}

/** What was handed out again is what it had. */
async function onlyWhatItHad(answer: Answer): Promise<Answer> {
  const { runs, ...rest } = JSON.parse(answer.body);
  expect(runs).toHaveLength(1);
  const [held] = await stage.coordinator.sql`select fence from leases where agent_id = ${cast.bounded.agentId}`;
  expect(String(runs[0].fence)).toBe(held!.fence);
  return { ...answer, body: JSON.stringify({ ...rest, runs: [] }) };
}

const said: [what: string, more: object][] = [
  ['its own verdict', { verdict: 'AGREE' }],
  ['that it was verified', { verified: true }],
  ['its own trust', { trust_score: 1 }],
  ['its own integrity', { integrity: 1 }],
  ['its own standing', { standing: 'TRUSTED' }],
  ['evidence', { evidence: [{ kind: 'canary', agrees: true }] }],
  ['another attempt', { attempt: 99 }],
  ['another agent', { agent_id: newId('agent') }],
  ['the status of the task', { task_status: 'COMPLETED' }],
  ['that it ended tomorrow', { finished_at: '2099-01-01T00:00:00.000Z' }],
  ['that it took less than no time', { duration_ms: -1 }],
  ['that its boot is another', { boot_id: newId('boot') }],
  ['a fault of the system', { outcome: 'FAILED', error: { message: 'no', fault: 'system' } }],
  ['a fault of the client', { outcome: 'FAILED', error: { message: 'no', fault: 'client' } }],
  ['a verdict inside the error', { outcome: 'FAILED', error: { message: 'no', verdict: 'AGREE' } }],
  ['an error of 10,001 characters', { outcome: 'FAILED', error: { message: 'x'.repeat(10_001) } }],
];
const beats: [what: string, more: object][] = [
  ['its own trust', { trust_score: 1 }],
  ['the end of its lease', { lease_expires_at: '2099-01-01T00:00:00.000Z' }],
  ['a status of its own', { status: 'TRUSTED' }],
  ['its mode', { mode: 'OPEN' }],
  ['an uptime of less than nothing', { uptime_ms: -1 }],
  ['less than no slots', { slots_free: -1 }],
  ['a billion slots', { slots_free: 1e9 }],
  ['metrics that are no numbers', { metrics: { load: 'high' } }],
  ['a progress of 200 %', { runs: [{ run_id: runIdOf(1), fence: 1, progress: { percent: 200 } }] }],
  ['the outcome of a run', { runs: [{ run_id: runIdOf(1), fence: 1, outcome: 'COMPLETED' }] }],
];
const steps: [what: string, more: object][] = [
  ['200 %', { percent: 200 }],
  ['less than nothing', { percent: -1 }],
  ['text', { percent: '50' }],
  ['a message of 1,001 characters', { message: 'x'.repeat(1_001) }],
  ['a trust', { percent: 50, trust_score: 1 }],
  ['a time', { percent: 50, started_at: '2020-01-01T00:00:00.000Z' }],
];
/** Numbers and fields that are not for agents to say. */
const NOT_TO_SAY: Row[] = [
  ...said.map(([what, more]) => invalid(`a result that says ${what}`, (it) => result(it.agent, it.run, more))),
  ...beats.map(([what, more]) => invalid(`a beat that says ${what}`, (it) => beat(it.agent, more))),
  ...steps.map(([what, more]) => invalid(`a progress of ${what}`, (it) => progress(it.agent, it.run, more))),
  invalid('metrics without end', (it) =>
    say(
      it.agent.token,
      pathOf(it.agent, 'heartbeat'),
      JSON.stringify({ boot_id: it.agent.bootId, ...BEAT, metrics: { load: 0 } }).replace('"load":0', '"load":1e999'),
    ),
  ),
  invalid('a poll with 1,001 results', (it) =>
    poll(it.agent, { results: Array.from({ length: 1_001 }, () => ({ ...runOf(it.run), outcome: 'COMPLETED' })) }),
  ),
  invalid('a beat with 10,001 runs', (it) =>
    beat(it.agent, { runs: Array.from({ length: 10_001 }, () => runOf(it.run)) }),
  ),
  invalid('a poll that holds 10,001 runs', (it) =>
    poll(it.agent, { holding: Array.from({ length: 10_001 }, () => it.run.run_id) }),
  ),
  row(
    'a result of 9 MiB',
    (it) => result(it.agent, it.run, { result_data: 'x'.repeat(9 * 2 ** 20) }),
    413,
    'payload-too-large',
  ),
  row(
    'a result of 9 MiB in a poll',
    (it) => reported(it.agent, it.run, { result_data: 'x'.repeat(9 * 2 ** 20) }),
    413,
    'payload-too-large',
  ),
  row(
    'a progress of 9 MiB',
    (it) => progress(it.agent, it.run, { checkpoint: 'x'.repeat(9 * 2 ** 20) }),
    413,
    'payload-too-large',
  ),
];

attacks(() => stage, numbered('P', [...OF_OTHERS, ...GUESSED, ...OVER, ...FORMER_LIVES, ...TOO_MUCH, ...NOT_TO_SAY]));

describe('trust moves by what is applied, once', () => {
  const trustOf = (agent: RawAgent) =>
    stage.coordinator.sql`select * from trust where agent_id = ${agent.agentId} order by 1, 2`;

  test('a result after the task was cancelled frees the slot and says nothing of the agent', async () => {
    const agent = cast.bounded;
    const [{ fence, task_id }] = await stage.coordinator.sql<[{ fence: string; task_id: string }]>`
      select fence, task_id from leases where agent_id = ${agent.agentId}`;
    await stage.owner.call(cancelTask, { params: { task_id } });
    const before = await trustOf(agent);
    const run = { run_id: runIdOf(fence), fence: Number(fence) };
    const answer = await result(agent, run);
    expect([answer.status, JSON.parse(answer.body).code]).toEqual([409, 'task-terminal']);
    expect(await trustOf(agent)).toEqual(before);
    expect(await stage.owner.call(getTask, { params: { task_id } })).toMatchObject({
      status: 'CANCELLED',
      result_data: null,
    });
  });

  test('a run that is both COMPLETED and FAILED in one poll is what was said first, and one piece of evidence', async () => {
    const agent = cast.bounded;
    const run = runOf(await agent.take());
    const results = (['COMPLETED', 'FAILED', 'COMPLETED'] as const).map((outcome) => ({ ...run, outcome }));
    const said = await agent.poll({ slots: 0, results });
    expect(said.results).toMatchObject([
      { applied: true },
      { applied: false, code: 'stale-lease' },
      { applied: false },
    ]);
    expect(await trustOf(agent)).toMatchObject([{ completed: 1, failed: 0 }]);
  });

  test('the same result from twenty sides at once counts once', async () => {
    const agent = cast.bounded;
    const run = runOf(await agent.take());
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => (n % 2 ? result(agent, run) : reported(agent, run))),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(answers.filter(({ body }) => body.includes('"applied":true'))).toHaveLength(1);
    expect(await trustOf(agent)).toMatchObject([{ completed: 2 }]);
  });
});

test('an agent that asks for nothing 600 times in a minute is told to wait, but never when it brings results, and never on a beat', async () => {
  const agent = stage.rivalAgent;
  const statuses = new Map<number, number>();
  let refused: Answer | undefined;
  for (let n = 0; n < 70 && !refused; n += 1) {
    for (const answer of await Promise.all(Array.from({ length: 10 }, () => poll(agent)))) {
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      if (answer.status !== 200) refused ??= answer;
    }
  }
  expect(statuses.get(200)).toBeGreaterThan(580);
  expect(statuses.get(200)).toBeLessThanOrEqual(620);
  expect(refused).toMatchObject({ status: 429 });
  expect(JSON.parse(refused!.body)).toMatchObject({ code: 'rate-limited' });
  const again = Number(refused!.headers['retry-after']);
  expect(again).toBeGreaterThan(0);
  expect(again).toBeLessThanOrEqual(60);
  for (let n = 0; n < 20; n += 1) {
    expect((await beat(agent)).status).toBe(200);
    await refusedInPoll(reported(agent, stage.run), 'stale-lease');
  }
  expect((await poll(stage.agent)).status).toBe(200);
  expect((await poll(agent)).status).toBe(429);
});
