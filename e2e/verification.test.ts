import { setTimeout as pause } from 'node:timers/promises';
import { createBatch, listBatchResults } from '@muster/shared/contract/batches';
import type { CallOf } from '@muster/shared/contract/endpoint';
import type { Json } from '@muster/shared/contract/fields';
import { explainTask, getWorkload, listDeadLetters } from '@muster/shared/contract/queue';
import { deleteRun, getRun, listRuns } from '@muster/shared/contract/runs';
import { triggerSchedule } from '@muster/shared/contract/schedule-operations';
import { createSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { createTask, retryTask, type Task } from '@muster/shared/contract/tasks';
import type { TaskStatus } from '@muster/shared/lifecycle';
import { eventually } from '@muster/testing';
import { auditRows } from '@muster/testing/auditor';
import { afterEach, describe, expect, test } from 'vitest';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

type Verification = Exclude<NonNullable<NonNullable<CallOf<typeof createTask>['body']>['verification']>, 'none'>;

const EXACT = { kind: 'exact' } as const;
const never = () => 0.999;

let network: TestNetwork;
afterEach(() => auditRows(network.sql));

/** A network in which chance says what it is told to. */
async function start(random: () => number = never, env: Record<string, string> = {}): Promise<void> {
  network = await startNetwork({ random, env });
}

/** An agent of an owner. `anchor`: an admin vouches for it. */
async function agentOf(owner: string, { anchor = false, slots = 4, capability = 'work' } = {}): Promise<RawAgent> {
  const enrollment_token = await network.enrol({ owner, serves: 'all' });
  const agent = await network.rawAgent({ enrollment_token, slots, capabilities: [capability] });
  if (anchor) await network.sql`update agents set anchor = true where agent_id = ${agent.agentId}`;
  return agent;
}

const submit = (verification: Verification, more: object = {}) =>
  network.submit({ task_type: 'work', input_data: 'the question', max_retries: 0, verification, ...more });

/** Takes a run that is there by now, of a task. */
async function take(agent: RawAgent, task_id: string) {
  const run = await agent.take();
  expect(run.task_id).toBe(task_id);
  return run;
}
/** Takes a run and answers. */
async function answer(agent: RawAgent, task_id: string, result: Json) {
  const run = await take(agent, task_id);
  expect(await agent.complete(run, result)).toEqual({ applied: true, task_status: 'VERIFYING' });
  return run;
}
const finds = async (agent: RawAgent) => (await agent.poll({ slots: 1, wait_ms: 0 })).runs.length;
const standingOf = async ({ agentId }: RawAgent) =>
  (await network.sql`select standing from integrity where agent_id = ${agentId}`)[0]?.standing;
const runsOf = ({ runs }: Task) => runs.map(({ agent_id, replica, status }) => ({ agent_id, replica, status }));

describe('an answer and those who check it', () => {
  test('none costs no extra run, and says nothing of being checked', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const task_id = await network.submit({ task_type: 'work', input_data: 1 });
    await a.complete(await take(a, task_id), 'x');
    const task = await network.until(task_id, 'COMPLETED');
    expect(task).toMatchObject({ verification: 'none', finality: null, result_version: 1, verification_note: null });
    expect(task.runs).toHaveLength(1);
    expect(await finds(b)).toBe(0);
    expect(await network.sql`select from verifications union all select from replicas`).toHaveLength(0);
  });

  test('a quorum that agrees completes the task: verified, with an answer of those who agree', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const task_id = await submit({ policy: 'quorum', comparator: EXACT });
    await answer(a, task_id, 'x');
    const between = await network.task(task_id);
    expect(between).toMatchObject({ status: 'VERIFYING', result_data: null, finality: null });
    await answer(b, task_id, 'x');
    const task = await network.until(task_id, 'COMPLETED');
    expect(task).toMatchObject({ result_data: 'x', finality: 'verified', verification_note: null });
    // The run that is its result goes with the task, though another came after it.
    const [first] = task.runs;
    await expect(network.admin(deleteRun, { params: { run_id: first!.run_id } })).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(runsOf(task)).toEqual([
      { agent_id: a.agentId, replica: 0, status: 'COMPLETED' },
      { agent_id: b.agentId, replica: 1, status: 'COMPLETED' },
    ]);
  });

  test('answers are compared as the comparator says', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const pairs: [Verification['comparator'], Json, Json][] = [
      [{ kind: 'json' }, { x: 1, y: [2] }, { y: [2], x: 1.0 }],
      [{ kind: 'numeric', tolerance: 0.01 }, { at: [1, 2.004] }, { at: [1.005, 2] }],
      [{ kind: 'numeric', tolerance: 0, relative: 0.01 }, 1_000, 1_009],
    ];
    for (const [comparator, one, other] of pairs) {
      const task_id = await submit({ policy: 'always', comparator });
      await a.complete(await take(a, task_id), one);
      await b.complete(await take(b, task_id), other);
      expect(await network.until(task_id, 'COMPLETED')).toMatchObject({ finality: 'verified' });
    }
  });

  test('where answers differ a judge is asked, whoever is outvoted was wrong, and loses its work by its second wrong answer', async () => {
    await start();
    const [liar, good, judge] = [
      await agentOf('liar'),
      await agentOf('good', { anchor: true }),
      await agentOf('judge', { anchor: true }),
    ];
    for (const standing of ['PROBATION', 'QUARANTINED']) {
      const task_id = await submit({ policy: 'always', comparator: EXACT });
      await answer(liar, task_id, `wrong ${standing}`);
      await answer(good, task_id, 'x');
      // An anchor outweighs a stranger by itself, but an answer takes two.
      await answer(judge, task_id, 'x');
      const task = await network.until(task_id, 'COMPLETED');
      expect(task).toMatchObject({ result_data: 'x', finality: 'verified' });
      await eventually(async () => expect(await standingOf(liar)).toBe(standing));
    }
    expect(await network.sql`select found, vouched, kind from verdicts where agent_id = ${good.agentId}`).toEqual([
      { found: 'RIGHT', vouched: true, kind: 'judge' },
      { found: 'RIGHT', vouched: true, kind: 'judge' },
    ]);
  });

  test('what nobody can decide between is FAILED as disputed: a dead letter, that a person may queue again', async () => {
    await start();
    const agents = await Promise.all(['a', 'b', 'c'].map((owner) => agentOf(owner)));
    const task_id = await submit({ policy: 'quorum', max_runs: 3, comparator: EXACT });
    for (const [n, agent] of agents.entries()) await answer(agent, task_id, `answer ${n}`);
    const task = await network.until(task_id, 'FAILED');
    expect(task).toMatchObject({ dead_letter: true, error: { code: 'disputed' }, result_data: null, finality: null });
    const { data } = await network.admin(listDeadLetters, { query: { error_code: 'disputed' } });
    expect(data.map((it) => it.task_id)).toEqual([task_id]);
    expect(data[0]).toMatchObject({ error: { code: 'disputed' } });
    await network.admin(retryTask, { params: { task_id } });
    await answer(agents[0]!, task_id, 'x');
    await answer(agents[1]!, task_id, 'x');
    expect(await network.until(task_id, 'COMPLETED')).toMatchObject({ result_data: 'x', dead_letter: false });
  });
});

describe('answers a checker compares', () => {
  const CHECKER = { kind: 'checker', task_type: 'compare', timeout_seconds: 50, settings: { like: 'cats' } } as const;
  const checkerOf = (owner: string, anchor = false) => agentOf(owner, { anchor, capability: 'compare' });
  /** A task that two answered, not in the same bytes. */
  async function answered(more: Partial<Verification> = {}, checkers: Promise<RawAgent>[] = []) {
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    await Promise.all(checkers);
    const task_id = await submit({ policy: 'always', comparator: CHECKER, deadline_seconds: 60, ...more });
    await answer(a, task_id, 'a cat');
    await answer(b, task_id, 'one cat');
    return { a, b, task_id };
  }
  const says = (equal: number[][]) => ({ equal });

  test('it is a run of its own kind, for an agent that has nothing to do with the answers; what it says of them holds', async () => {
    await start();
    const { a, b, task_id } = await answered();
    // Whose owner gave an answer is not asked what the others are worth.
    expect(await finds(await checkerOf('a'))).toBe(0);
    expect(await finds(await agentOf('c'))).toBe(0);
    const checker = await checkerOf('c');
    const run = await take(checker, task_id);
    expect(run).toMatchObject({
      task_type: 'compare',
      capability_required: 'compare',
      attempt: 1,
      timeout_seconds: 50,
    });
    expect(run.input_data).toEqual({
      task_type: 'work',
      input_data: 'the question',
      answers: ['a cat', 'one cat'],
      settings: { like: 'cats' },
    });
    // The reply may be lost.
    expect((await checker.poll({ slots: 0, holding: [] })).runs).toEqual([run]);
    expect(await network.task(task_id)).toMatchObject({ status: 'VERIFYING', result_data: null });
    expect(await checker.complete(run, says([[0, 1]]))).toEqual({ applied: true, task_status: 'VERIFYING' });
    const task = await network.until(task_id, 'COMPLETED');
    expect(task).toMatchObject({ result_data: 'a cat', finality: 'verified' });
    expect(runsOf(task)).toEqual([
      { agent_id: a.agentId, replica: 0, status: 'COMPLETED' },
      { agent_id: b.agentId, replica: 1, status: 'COMPLETED' },
      { agent_id: checker.agentId, replica: 2, status: 'COMPLETED' },
    ]);
    const verdicts = await network.sql`select agent_id, capability, found, judge from verdicts order by fence`;
    expect(verdicts).toEqual([
      { agent_id: a.agentId, capability: 'work', found: 'RIGHT', judge: b.agentId },
      { agent_id: b.agentId, capability: 'work', found: 'RIGHT', judge: a.agentId },
    ]);
    const trust = await network.sql`select capability, completed from trust where agent_id = ${checker.agentId}`;
    expect(trust).toEqual([{ capability: 'compare', completed: 1 }]);
    // Such a task is no canary: its answer cannot be told without asking again.
    expect(await wanted()).toEqual([]);
  });
  const wanted = () => network.sql`select kind from replicas where fence is null`;

  test('answers of the same bytes need none; where it finds that they differ another is asked, and all are compared anew', async () => {
    await start();
    const [liar, good, judge] = [await agentOf('a'), await agentOf('b'), await agentOf('c', { anchor: true })];
    const verification = { policy: 'always', comparator: CHECKER } as const;
    const same = await submit(verification);
    for (const agent of [good, judge]) await answer(agent, same, 'x');
    await network.until(same, 'COMPLETED');
    const [one, other] = [await checkerOf('d'), await checkerOf('e')];
    const task_id = await submit(verification);
    await answer(liar, task_id, 'a dog');
    await answer(judge, task_id, 'a cat');
    await answer(one, task_id, says([[0], [1]]));
    await answer(good, task_id, 'one cat');
    expect(await finds(one)).toBe(0);
    const run = await take(other, task_id);
    expect(run.input_data).toMatchObject({ answers: ['a dog', 'a cat', 'one cat'] });
    await other.complete(run, says([[1, 2], [0]]));
    expect(await network.until(task_id, 'COMPLETED')).toMatchObject({ result_data: 'a cat', finality: 'verified' });
    await eventually(async () => expect(await standingOf(liar)).toBe('PROBATION'));
  });

  test('what none of three can say is disputed, however they fail, whatever else is to be done when nobody comes', async () => {
    await start();
    const { task_id } = await answered({ otherwise: 'accept' });
    const [failing, slow, talker] = [await checkerOf('c'), await checkerOf('d'), await checkerOf('e')];
    await failing.report(await take(failing, task_id), {
      outcome: 'FAILED',
      error: { message: 'no', retryable: false },
    });
    await take(slow, task_id);
    await network.clock.advance('51s');
    await talker.complete(await take(talker, task_id), says([[0, 1, 2]]));
    const task = await network.until(task_id, 'FAILED');
    expect(task).toMatchObject({ error: { code: 'disputed' }, dead_letter: true, finality: null, result_data: null });
    expect(task.error).toMatchObject({ message: expect.stringMatching(/3 runs of its checker/) });
    expect(await network.sql`select from verdicts`).toHaveLength(0);
    // A person may have it done again: what was compared before is forgotten.
    await network.admin(retryTask, { params: { task_id } });
    await answer(await agentOf('f'), task_id, 'x');
    await answer(await agentOf('g'), task_id, 'y');
    await answer(failing, task_id, says([[0, 1]]));
    expect(await network.until(task_id, 'COMPLETED')).toMatchObject({ result_data: 'x', finality: 'verified' });
  });

  test.each([
    ['accept', 'FAILED', { error: { code: 'disputed' } }],
    ['wait', 'VERIFYING', { verification_note: expect.stringMatching(/no agent that may check it/) }],
  ] as const)('nobody comes to compare them, and they are not taken for one: %s', async (otherwise, status, shown) => {
    await start();
    const { task_id } = await answered({ otherwise });
    await eventually(async () => expect(await wanted()).toEqual([{ kind: 'checker' }]));
    await network.clock.advance('61s');
    await network.clock.advance('1s');
    expect(await network.until(task_id, status)).toMatchObject(shown);
    expect(await wanted()).toHaveLength(status === 'FAILED' ? 0 : 1);
    if (status === 'FAILED') return;
    await answer(await checkerOf('c'), task_id, says([[0, 1]]));
    await network.until(task_id, 'COMPLETED');
  });

  test('an anchor is asked first; when the task is cancelled its checker is told to stop', async () => {
    await start();
    const [plain, anchor] = [checkerOf('c'), checkerOf('d', true)];
    const { task_id } = await answered({}, [plain, anchor]);
    expect(await finds(await plain)).toBe(0);
    const run = await take(await anchor, task_id);
    await network.cancel(task_id);
    const { cancel } = await (await anchor).beat({ runs: [{ run_id: run.run_id, fence: run.fence }] });
    expect(cancel).toEqual([run.run_id]);
    await (await anchor).report(run, { outcome: 'CANCELLED' });
    expect(await wanted()).toEqual([]);
  });
});

describe('who checks whom', () => {
  test('Q sybil pair: no two of one owner; where all that are there have one, no two of one enrolment', async () => {
    await start();
    const token = await network.enrol({ owner: 'a', serves: 'all' });
    const [one, twin] = [
      await network.rawAgent({ enrollment_token: token }),
      await network.rawAgent({ enrollment_token: token }),
    ];
    const sibling = await agentOf('a');
    const first = await submit({ policy: 'always', comparator: EXACT });
    await answer(one, first, 'x');
    expect(await finds(twin)).toBe(0);
    await answer(sibling, first, 'x');
    await network.until(first, 'COMPLETED');
    const other = await agentOf('b');
    // Who is there is believed for a second.
    await pause(1_100);
    const second = await submit({ policy: 'always', comparator: EXACT });
    await answer(one, second, 'x');
    expect(await finds(sibling)).toBe(0);
    await answer(other, second, 'x');
    await network.until(second, 'COMPLETED');
  });

  test('who is not trusted is paired with who is; where nobody trusted comes in half its time, with anybody', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const anchor = await agentOf('c', { anchor: true });
    const first = await submit({ policy: 'always', comparator: EXACT, deadline_seconds: 60 });
    await answer(a, first, 'x');
    expect(await finds(b)).toBe(0);
    await answer(anchor, first, 'x');
    await network.until(first, 'COMPLETED');
    const second = await submit({ policy: 'always', comparator: EXACT, deadline_seconds: 60 });
    await answer(a, second, 'x');
    expect(await finds(b)).toBe(0);
    await network.clock.advance('31s');
    await answer(b, second, 'x');
    await network.until(second, 'COMPLETED');
  });

  test('only agents that have the same value of a label are compared', async () => {
    await start();
    const labelled = async (owner: string, arch: string) => {
      const agent = await agentOf(owner);
      await network.sql`update agents set labels = ${network.sql.json({ arch })} where agent_id = ${agent.agentId}`;
      return agent;
    };
    const [a, b, c] = [await labelled('a', 'arm'), await labelled('b', 'x86'), await labelled('c', 'arm')];
    const task_id = await submit({ policy: 'always', comparator: EXACT, label: 'arch' });
    await answer(a!, task_id, 'x');
    expect(await finds(b!)).toBe(0);
    await answer(c!, task_id, 'x');
    await network.until(task_id, 'COMPLETED');
  });

  test('a poll that waits is given what is wanted', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const task_id = await submit({ policy: 'always', comparator: EXACT });
    const run = await take(a, task_id);
    await a.complete(run, 'x');
    await answer(b, task_id, 'x');
    const next = await submit({ policy: 'always', comparator: EXACT });
    const waiting = b.poll({ wait_ms: 20_000 });
    const mine = await waiting;
    expect(mine.runs.map((it) => it.task_id)).toEqual([next]);
    const other = a.poll({ wait_ms: 20_000 });
    expect((await other).runs.map((it) => it.task_id)).toEqual([next]);
  });
});

describe('when nobody comes by the deadline', () => {
  const late = async (otherwise: 'accept' | 'fail' | 'wait') => {
    await start();
    const a = await agentOf('a');
    const task_id = await submit({ policy: 'always', comparator: EXACT, deadline_seconds: 60, otherwise });
    await answer(a, task_id, 'x');
    await network.clock.advance('61s');
    await network.clock.advance('1s');
    return (status: TaskStatus) => network.until(task_id, status);
  };
  test('accept: the answer stands, provisional, and the task says why', async () => {
    const task = await (await late('accept'))('COMPLETED');
    expect(task).toMatchObject({ finality: 'provisional', result_data: 'x' });
    expect(task.verification_note).toMatch(/no agent that may check it/);
  });
  test('fail: the task fails as unverified', async () => {
    const task = await (await late('fail'))('FAILED');
    expect(task).toMatchObject({ error: { code: 'unverified' }, dead_letter: true });
  });
  test('wait: it waits on, says so, and goes on when somebody comes', async () => {
    const until = await late('wait');
    const { task_id, verification_note } = await until('VERIFYING');
    expect(verification_note).toMatch(/no agent that may check it/);
    await answer(await agentOf('b'), task_id, 'x');
    expect(await until('COMPLETED')).toMatchObject({ finality: 'verified', verification_note: null });
  });
});

describe('as often as the record of the agent asks for', () => {
  test('a newcomer is checked, an anchor is believed: provisional until others find it right', async () => {
    await start();
    const [anchor, stranger] = [await agentOf('a', { anchor: true }), await agentOf('b')];
    const adaptive = { policy: 'adaptive', comparator: EXACT } as const;
    const alone = await submit(adaptive);
    await answer(anchor, alone, 'x');
    expect(await network.until(alone, 'COMPLETED')).toMatchObject({ finality: 'provisional', result_data: 'x' });
    const checked = await submit(adaptive);
    await answer(stranger, checked, 'x');
    await answer(anchor, checked, 'x');
    expect(await network.until(checked, 'COMPLETED')).toMatchObject({ finality: 'verified' });
    expect(await network.task(alone)).toMatchObject({ finality: 'verified', result_version: 1 });
  });

  test('of those who agree some are judged by a third', async () => {
    await start(() => 0.1);
    const [a, b, c] = [await agentOf('a'), await agentOf('b'), await agentOf('c')];
    const task_id = await submit({ policy: 'always', comparator: EXACT });
    await answer(a, task_id, 'x');
    await answer(b, task_id, 'x');
    expect(await network.task(task_id)).toMatchObject({ status: 'VERIFYING' });
    await answer(c, task_id, 'x');
    expect((await network.until(task_id, 'COMPLETED')).runs).toHaveLength(3);
  });
});

describe('while it is verified', () => {
  const verifying = async (more: object = {}, verification: Partial<Verification> = {}) => {
    await start();
    const a = await agentOf('a');
    const task_id = await submit({ policy: 'always', comparator: EXACT, ...verification } as Verification, more);
    await answer(a, task_id, 'x');
    return task_id;
  };
  test('it can be cancelled, and nobody is asked any more', async () => {
    const task_id = await verifying({ unique_key: 'u' });
    await network.cancel(task_id);
    expect(await network.task(task_id)).toMatchObject({ status: 'CANCELLED', result_data: null });
    expect(await finds(await agentOf('b'))).toBe(0);
    await network.submit({ task_type: 'other', input_data: 1, unique_key: 'u' });
  });
  test('those who check it are told to stop when it is cancelled', async () => {
    const task_id = await verifying();
    const b = await agentOf('b');
    const run = await take(b, task_id);
    await network.cancel(task_id);
    const beat = await b.beat({ runs: [{ run_id: run.run_id, fence: run.fence }] });
    expect(beat.cancel).toEqual([run.run_id]);
    await b.report(run, { outcome: 'CANCELLED' });
  });
  test('its whole time can be over', async () => {
    const task_id = await verifying({ task_timeout_seconds: 100 });
    await network.clock.advance('101s');
    expect(await network.until(task_id, 'TIMED_OUT')).toMatchObject({ dead_letter: true });
  });
  test('who waits for it waits for the decision, and its unique key is taken', async () => {
    const task_id = await verifying({ unique_key: 'u', concurrency_key: 'k' });
    const after = await network.submit({ task_type: 'after', input_data: 1, depends_on: [task_id] });
    await expect(network.submit({ task_type: 'x', input_data: 1, unique_key: 'u' })).rejects.toMatchObject({
      code: 'conflict',
    });
    const gated = await network.submit({ task_type: 'gated', input_data: 1, concurrency_key: 'k' });
    expect(await network.task(after)).toMatchObject({ status: 'BLOCKED' });
    const explained = await network.admin(explainTask, { params: { task_id } });
    expect(explained).toMatchObject({ place: 'verifying' });
    await answer(await agentOf('b'), task_id, 'x');
    await network.until(task_id, 'COMPLETED');
    await network.until(after, 'PENDING');
    const other = await network.rawAgent({ capabilities: ['gated'] });
    expect((await other.take()).task_id).toBe(gated);
    await network.submit({ task_type: 'x', input_data: 1, unique_key: 'u' });
  });
  test('a check that fails or is lost is asked of another', async () => {
    const task_id = await verifying();
    const b = await agentOf('b');
    await b.fail(await take(b, task_id));
    expect(await network.task(task_id)).toMatchObject({ status: 'VERIFYING' });
    const c = await agentOf('c');
    await take(c, task_id);
    await network.clock.advance('31s', { beats: 'missed' });
    await answer(await agentOf('d'), task_id, 'x');
    expect((await network.until(task_id, 'COMPLETED')).runs.map(({ status }) => status)).toEqual([
      'COMPLETED',
      'FAILED',
      'LOST',
      'COMPLETED',
    ]);
  });
});

describe('what may be verified', () => {
  test('what cannot be done is refused, and what it is about is named', async () => {
    await start();
    const always = (comparator: object) => ({ verification: { policy: 'always', comparator } });
    const post = { task_type: 'http', input_data: { method: 'POST', url: 'https://example.com' } };
    const checker = { kind: 'checker', task_type: 'compare' };
    const refused: [object, string][] = [
      [post, ''],
      [always({ kind: 'magic' }), '/comparator/kind'],
      [always({ ...checker, task_type: 'script' }), '/comparator/task_type'],
      // Nobody checks those who check.
      [always({ ...checker, comparator: EXACT }), '/comparator/comparator'],
      [{ verification: { policy: 'always' } }, '/comparator'],
      [{ verification: { policy: 'quorum', quorum: 7, comparator: EXACT } }, '/quorum'],
    ];
    for (const [more, at] of refused) {
      const pointer = `#/verification${at}`;
      const body = { task_type: 'work', input_data: null, ...always(EXACT), ...more };
      const refusal = { code: 'validation-failed', errors: [{ pointer }] };
      await expect(network.admin(createTask, { body } as never)).rejects.toMatchObject(refusal);
      await expect(
        network.admin(createSchedule, { body: { ...body, interval_seconds: 3_600 } } as never),
      ).rejects.toMatchObject(refusal);
      await expect(network.admin(createBatch, { body: { tasks: [body] } } as never)).rejects.toMatchObject({
        errors: [{ pointer: pointer.replace('#', '#/tasks/0') }],
      });
    }
  });

  test('tasks of schedules and batches are verified too, and their outcome is the decision', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const settings = {
      task_type: 'work',
      input_data: 'q',
      max_retries: 0,
      verification: { policy: 'always', comparator: EXACT },
    } as const;
    const { schedule_id, verification } = await network.admin(createSchedule, {
      body: { ...settings, interval_seconds: 3_600 },
    });
    expect(verification).toMatchObject({ policy: 'always', quorum: 2 });
    const { task_id } = await network.admin(triggerSchedule, { params: { schedule_id } });
    await answer(a, task_id!, 'x');
    await network.coordinator.tick();
    const outcome = async () => (await network.admin(listExecutions, { params: { schedule_id } })).data[0]?.task_status;
    expect(await outcome()).toBe('VERIFYING');
    await answer(b, task_id!, 'x');
    await eventually(async () => expect(await outcome()).toBe('COMPLETED'));
    const batch = await network.admin(createBatch, { body: { tasks: [settings] } });
    const member = batch.results[0]!.task_id!;
    for (const agent of [a, b]) await answer(agent, member, 'y');
    await network.until(member, 'COMPLETED');
    const { data } = await network.admin(listBatchResults, { params: { batch_id: batch.batch_id } });
    expect(data).toMatchObject([{ status: 'COMPLETED', result_data: 'y', finality: 'verified', result_version: 1 }]);
  });
});

describe('coordinators that die', () => {
  test('one between the claim and the decision: the answer is drawn for when it comes, and is never taken unseen', async () => {
    await start();
    const [a, b] = [await agentOf('a'), await agentOf('b')];
    const task_id = await submit({ policy: 'adaptive', comparator: EXACT });
    const run = await take(a, task_id);
    // As if it had died before it could write down what it drew.
    await network.sql`with v as (delete from verifications returning task_id) delete from replicas`;
    await a.complete(run, 'x');
    expect(await network.task(task_id)).toMatchObject({ status: 'VERIFYING' });
    await answer(b, task_id, 'x');
    await network.until(task_id, 'COMPLETED');
  });
});

describe('canaries', () => {
  /** Tasks that were verified with an anchor's agreement, and a network that wants the next of them again. */
  async function stage({ known = 1, strangers = false } = {}) {
    let chance = 0.999;
    await start(() => chance);
    const [a, anchor] = [await agentOf('a'), await agentOf('anchor', { anchor: !strangers })];
    const tasks: string[] = [];
    for (let n = 0; n < known; n += 1) {
      const task_id = await submit(
        { policy: 'always', comparator: EXACT, deadline_seconds: 60 },
        { task_timeout_seconds: 200 },
      );
      await network.sql`update tasks set traceparent = ${`00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`} where task_id = ${task_id}`;
      await answer(a, task_id, 'x');
      await answer(anchor, task_id, 'x');
      await network.until(task_id, 'COMPLETED');
      tasks.push(task_id);
    }
    // Long ago, so that nothing of their own time is left.
    await network.clock.advance('5m');
    /** A claim that draws one. */
    const draw = async () => {
      const task_id = await submit({ policy: 'always', comparator: EXACT });
      chance = 0;
      const run = await take(a, task_id);
      chance = 0.999;
      await network.cancel(task_id);
      await a.report(run, { outcome: 'CANCELLED' });
    };
    return { tasks, draw };
  }
  const shown = async (task_id: string) => ({ ...(await network.task(task_id)), traceparent: undefined });
  const verdictsOf = ({ agentId }: RawAgent) =>
    network.sql`select found, vouched, kind, judge from verdicts where agent_id = ${agentId}`;
  const asked = () => network.sql`select task_id, fence from replicas where kind = 'canary'`;

  test('Q gold fingerprint: a task whose answer is known comes to a stranger as any other would, and what it answers is told against it', async () => {
    const { tasks, draw } = await stage();
    const before = await shown(tasks[0]!);
    await draw();
    // Whom an admin vouches for is believed.
    expect(await finds(await agentOf('other', { anchor: true }))).toBe(0);
    const liar = await agentOf('liar');
    const run = await liar.take();
    expect(tasks).not.toContain(run.task_id);
    expect(run).toMatchObject({ input_data: 'the question', attempt: 1, timeout_seconds: 200 });
    expect(run.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(run.traceparent).not.toMatch(/aaaaaaaa|bbbbbbbb/);
    // What it is told again, and what its owner sees, is the same.
    const [again] = (await liar.poll({ slots: 0, holding: [] })).runs;
    expect(again).toEqual(run);
    const { runs } = await network.admin(getWorkload, { params: { agent_id: liar.agentId } });
    expect(runs.map(({ task_id }) => task_id)).toEqual([run.task_id]);
    // While it runs, and when it is over, nothing is seen of it from the task.
    expect(await shown(tasks[0]!)).toEqual(before);
    expect(await liar.complete(run, 'a lie')).toEqual({ applied: true, task_status: 'VERIFYING' });
    await eventually(async () => expect(await standingOf(liar)).toBe('PROBATION'));
    expect(await verdictsOf(liar)).toEqual([{ found: 'WRONG', vouched: false, kind: 'canary', judge: 'canary' }]);
    expect(await shown(tasks[0]!)).toEqual(before);
    expect((await network.admin(listRuns, { query: { agent_id: liar.agentId } })).data).toEqual([]);
    await expect(network.admin(getRun, { params: { run_id: run.run_id } })).rejects.toMatchObject({
      code: 'not-found',
    });
    // Each is given out once.
    await draw();
    expect(await asked()).toHaveLength(1);
    expect(await finds(await agentOf('next'))).toBe(0);
  });

  test('who finds it is right, as if somebody trusted agreed; one that nobody takes is wanted no longer than its deadline, and may be again', async () => {
    const { tasks, draw } = await stage();
    await draw();
    await network.clock.advance('61s');
    await eventually(async () => expect(await asked()).toEqual([]));
    await draw();
    const honest = await agentOf('honest');
    const run = await honest.take();
    await honest.complete(run, 'x');
    await eventually(async () =>
      expect(await verdictsOf(honest)).toEqual([{ found: 'RIGHT', vouched: true, kind: 'canary', judge: 'canary' }]),
    );
    expect(await network.sql`select check_at, state from verifications where task_id = ${tasks[0]!}`).toEqual([
      { check_at: null, state: 'AGREED' },
    ]);
  });

  test('what strangers agree on is none', async () => {
    const { draw } = await stage({ strangers: true });
    await draw();
    expect(await asked()).toEqual([]);
  });

  test('one that came to nothing is no evidence, and is not given out again', async () => {
    const { draw } = await stage();
    await draw();
    const agent = await agentOf('agent');
    await agent.fail(await agent.take());
    await network.coordinator.tick();
    expect(await network.sql`select check_at from verifications where check_at is not null`).toEqual([]);
    expect(await verdictsOf(agent)).toEqual([]);
    await draw();
    expect(await asked()).toHaveLength(1);
    expect(await finds(await agentOf('next'))).toBe(0);
  });
});

describe('looking back', () => {
  test('what one that is caught was believed before is looked at again: what was wrong is revised and told, what was right is verified', async () => {
    await start();
    const liar = await agentOf('liar');
    await network.sql`
      insert into integrity (agent_id, capability, "right", wrong, checked_at, streak, faults, standing, quarantines, fold_seq, updated_at)
      select ${liar.agentId}, 'work', 5, 0, muster_now(), 10, 0, 'TRUSTED', 0, 0, muster_now()`;
    const believed = async (result: string) => {
      const task_id = await submit({ policy: 'adaptive', comparator: EXACT });
      await answer(liar, task_id, result);
      await network.until(task_id, 'COMPLETED');
      return task_id;
    };
    const [right, wrong] = [await believed('x'), await believed('a lie')];
    const after = await network.submit({ task_type: 'after', input_data: 1, depends_on: [wrong] });
    expect(await network.task(wrong)).toMatchObject({
      finality: 'provisional',
      result_data: 'a lie',
      result_version: 1,
    });
    const [good, judge] = [await agentOf('good', { anchor: true }), await agentOf('judge', { anchor: true })];
    const caught = await submit({ policy: 'always', comparator: EXACT });
    await answer(liar, caught, 'another lie');
    await answer(good, caught, 'x');
    await answer(judge, caught, 'x');
    await network.until(caught, 'COMPLETED');
    await network.coordinator.tick();
    const again = await eventually(async () => {
      const { runs } = await good.poll({ slots: 4, wait_ms: 0 });
      if (runs.length < 2) for (const run of runs) await good.report(run, { outcome: 'RETURNED' });
      expect(runs.map((run) => run.task_id).sort()).toEqual([right, wrong].sort());
      return runs;
    });
    expect(again.every(({ attempt, checkpoint }) => attempt === 1 && checkpoint === undefined)).toBe(true);
    for (const run of again) await good.complete(run, 'x');
    // It takes two against one, whoever they are.
    await answer(judge, wrong, 'x');
    await eventually(async () =>
      expect(await network.task(wrong)).toMatchObject({
        status: 'COMPLETED',
        finality: 'verified',
        result_data: 'x',
        result_version: 2,
      }),
    );
    expect(await network.task(right)).toMatchObject({ status: 'COMPLETED', finality: 'verified', result_version: 1 });
    expect(await network.sql`select subject_ids, detail from events where kind = 'task.result_revised'`).toMatchObject([
      { subject_ids: [wrong], detail: [{ result_version: 2, has_dependents: true }] },
    ]);
    expect(await network.task(after)).toMatchObject({ status: 'PENDING' });
    await eventually(async () => expect(await standingOf(liar)).toBe('QUARANTINED'));
    await network.clock.advance('1s');
    expect(await network.sql`select from look_backs`).toHaveLength(0);
  });

  test('two that lie together are caught by a third: what they were believed, and what they vouched for each other, is looked at again and revised', async () => {
    let chance = 0.999;
    await start(() => chance);
    const [one, two] = [await agentOf('one'), await agentOf('two')];
    await network.sql`
      insert into integrity (agent_id, capability, "right", wrong, checked_at, streak, faults, standing, quarantines, fold_seq, updated_at)
      select agent_id, 'work', 5, 0, muster_now(), 10, 0, 'TRUSTED', 0, 0, muster_now() from agents`;
    const alone = await submit({ policy: 'adaptive', comparator: EXACT });
    await answer(one, alone, 'the lie');
    expect(await network.until(alone, 'COMPLETED')).toMatchObject({ finality: 'provisional', result_data: 'the lie' });
    const together = await submit({ policy: 'always', comparator: EXACT });
    for (const liar of [one, two]) await answer(liar, together, 'the lie');
    // What they agree on vouches for what was believed before, too.
    for (const task_id of [together, alone])
      await eventually(async () =>
        expect(await network.task(task_id)).toMatchObject({ finality: 'verified', result_data: 'the lie' }),
      );
    const [good, judge] = [await agentOf('good', { anchor: true }), await agentOf('judge', { anchor: true })];
    // One of those that agree is judged by a third.
    chance = 0.1;
    const caught = await submit({ policy: 'always', comparator: EXACT });
    for (const liar of [one, two]) await answer(liar, caught, 'the lie');
    for (const anchor of [good, judge]) await answer(anchor, caught, 'x');
    expect(await network.until(caught, 'COMPLETED')).toMatchObject({ result_data: 'x', finality: 'verified' });
    await eventually(async () =>
      expect([await standingOf(one), await standingOf(two)]).toEqual(['QUARANTINED', 'QUARANTINED']),
    );
    await network.coordinator.tick();
    for (const anchor of [good, judge]) {
      // What was answered stays until it is decided about.
      for (const { run_id } of (await network.task(together)).runs)
        await expect(network.admin(deleteRun, { params: { run_id } })).rejects.toMatchObject({ code: 'conflict' });
      for (const seen = new Set<string>(); seen.size < 2; ) {
        const run = await eventually(() => anchor.take());
        expect([alone, together]).toContain(run.task_id);
        await anchor.complete(run, 'x');
        seen.add(run.task_id);
      }
    }
    for (const task_id of [alone, together])
      await eventually(async () =>
        expect(await network.task(task_id)).toMatchObject({
          status: 'COMPLETED',
          result_data: 'x',
          result_version: 2,
          finality: 'verified',
        }),
      );
    const told = await network.sql`select subject_ids[1] as task_id from events where kind = 'task.result_revised'`;
    expect(told.map(({ task_id }) => task_id).sort()).toEqual([alone, together].sort());
    await network.coordinator.tick();
    expect(await network.sql`select from look_backs`).toHaveLength(0);
  });
});
