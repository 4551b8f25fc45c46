import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, backoffMs, RETRY_POLICIES, type RetryPolicy } from '@muster/shared/backoff';
import { newId, runIdOf } from '@muster/shared/ids';
import type { Outcome } from '@muster/shared/lifecycle';
import { type Life, openRows, type Rows, unverified } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { insertTasks, type NewTask } from '../../tasks/store/submit.ts';
import { cancelTask, promoteTasks } from '../../tasks/store/transitions.ts';
import { createReporter, reportResult } from '../report.ts';
import { noteRuns } from './heartbeat.ts';
import { applyResults, findEndedRuns, type NewResult } from './results.ts';

const quiet = { tell() {}, on() {}, setPeers() {}, async start() {}, async stop() {} };

describe.each([18, 15] as const)('results on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const lease = async (agent: Life, seed: Partial<NewTask> = {}) => {
    const task = await it.task({ ...seed, ...agent });
    const { fences } = await insertTasks(it.db.hot, [task]);
    return { task_id: task.task_id, fence: fences.get(0)! };
  };
  const result = (agent: Life, fence: number, over: Partial<NewResult> = {}): NewResult => {
    const status = over.status ?? 'COMPLETED';
    const fault = status === 'FAILED' || status === 'TIMED_OUT' ? 'agent' : null;
    return { ...agent, fence, status, fault, retryable: true, result_data: null, error: null, ...over };
  };
  const rowsOf = (taskId: string) =>
    it.sql`select status, final, fault, attempt, result_data, error from runs where task_id = ${taskId}`;
  const trustOf = ({ agent_id }: Life) =>
    it.sql`select completed, failed, timed_out, lost, fold_seq::int from trust where agent_id = ${agent_id}`;

  test('a success ends the task, keeps what was found and gives the slot back', async () => {
    const agent = await it.agent();
    const { task_id, fence } = await lease(agent);
    const applied = await applyResults(it.db.hot, [result(agent, fence, { result_data: '{"n": "ü\\\\,\\""}' })]);
    expect(applied).toEqual([
      {
        position: 0,
        awaited: false,
        verified: false,
        next: 'final',
        run_status: 'COMPLETED',
        class_id: await it.classOf('echo'),
      },
    ]);
    expect(await it.status(task_id)).toBe('COMPLETED');
    expect(await rowsOf(task_id)).toMatchObject([{ status: 'COMPLETED', final: true, result_data: { n: 'ü\\,"' } }]);
    expect(await trustOf(agent)).toEqual([{ completed: 1, failed: 0, timed_out: 0, lost: 0, fold_seq: 1 }]);
    expect(await it.eventsOf(task_id)).toEqual(['task.created', 'run.assigned', 'run.finished']);
    expect(await it.sql`select slots_used from agents`).toEqual([{ slots_used: 0 }]);
  });

  const cases: [string, Partial<NewTask>, Partial<NewResult>, string, string, object[]][] = [
    ['a failure is tried again later', {}, { status: 'FAILED' }, 'delayed', 'PENDING', [{ failed: 1 }]],
    ['so is a timeout', {}, { status: 'TIMED_OUT' }, 'delayed', 'PENDING', [{ timed_out: 1 }]],
    ['but not when it may not be', {}, { status: 'FAILED', retryable: false }, 'final', 'FAILED', [{ failed: 1 }]],
    [
      'nor without a retry policy',
      { retry_policy: 'none' },
      { status: 'TIMED_OUT' },
      'final',
      'TIMED_OUT',
      [{ timed_out: 1 }],
    ],
    ['nor out of retries', { max_retries: 0 }, { status: 'FAILED' }, 'final', 'FAILED', [{ failed: 1 }]],
    ["a failure by the task's fault moves no trust", {}, { status: 'FAILED', fault: 'task' }, 'delayed', 'PENDING', []],
    ['what is returned is queued at once, blameless', {}, { status: 'RETURNED' }, 'ready', 'PENDING', []],
    ['so is what was cancelled though nobody asked', {}, { status: 'CANCELLED' }, 'ready', 'PENDING', []],
  ];
  test.each(cases)('%s', async (_, seed, said, next, status, trust) => {
    const agent = await it.agent();
    const { task_id, fence } = await lease(agent, seed);
    expect(await applyResults(it.db.hot, [result(agent, fence, said)])).toMatchObject([{ next }]);
    expect(await it.status(task_id)).toBe(status);
    expect(await trustOf(agent)).toMatchObject(trust);
    expect(await trustOf(agent)).toHaveLength(trust.length);
    const failures = next === 'delayed' ? 1 : 0;
    const queued = await it.sql`select attempt, failures from ready union all select attempt, failures from delayed`;
    expect(queued).toEqual(next === 'final' ? [] : [{ attempt: 1, failures }]);
    expect(await it.sql`select dead_letter from task_state`).toEqual([{ dead_letter: next === 'final' }]);
  });

  test('a task that fails again and again is tried max_retries times more, returns not counted, and then is a dead letter', async () => {
    const agent = await it.agent();
    const [id] = await it.submit({ max_retries: 2, retry_policy: 'fixed' });
    const outcomes = ['FAILED', 'RETURNED', 'TIMED_OUT', 'FAILED'];
    for (const status of outcomes) {
      await promoteTasks(it.db.hot, 10);
      const standings = await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
      await applyResults(it.db.hot, [result(agent, standings.get(agent.agent_id)!.runs[0]!.fence, { status })]);
      await it.clock.advance('2s');
    }
    expect(await it.status(id!)).toBe('FAILED');
    expect((await rowsOf(id!)).map((row) => [row.attempt, row.status, row.final])).toEqual([
      [1, 'FAILED', false],
      [2, 'RETURNED', false],
      [3, 'TIMED_OUT', false],
      [4, 'FAILED', true],
    ]);
  });

  test.each(RETRY_POLICIES.filter((policy) => policy !== 'none'))(
    'a %s pause is as long as shared/backoff.ts says, for every failure',
    async (policy: RetryPolicy) => {
      const agent = await it.agent({ slots: 200 });
      const failures = [...Array(24).keys(), 31, 300, 30_000];
      const held = await Promise.all(failures.map(() => lease(agent, { retry_policy: policy, max_retries: 32_000 })));
      await it.sql`update leases l set failures = f.n from unnest(${held.map((run) => run.fence)}::bigint[], ${failures}::int[]) f(fence, n) where l.fence = f.fence`;
      await applyResults(
        it.db.hot,
        held.map(({ fence }) => result(agent, fence, { status: 'FAILED' })).sort((a, b) => a.fence - b.fence),
      );
      const waits = await it.sql<{ failures: number; ms: number }[]>`
        select d.failures, extract(epoch from d.run_at - r.finished_at)::float8 * 1000 as ms from delayed d join runs r using (task_id)`;
      expect(waits).toHaveLength(failures.length);
      for (const { failures: number, ms } of waits) {
        expect(ms, `failure ${number}`).toBeGreaterThanOrEqual(backoffMs(policy, number, 0) - 1);
        expect(ms, `failure ${number}`).toBeLessThanOrEqual(backoffMs(policy, number, 1) + 1);
      }
      const longest = Math.max(...waits.map((wait) => wait.ms));
      expect(longest).toBeLessThanOrEqual(policy === 'fixed' ? BACKOFF_BASE_MS : BACKOFF_CAP_MS);
      if (policy !== 'fixed') expect(longest).toBeGreaterThan(BACKOFF_CAP_MS / 2);
    },
  );

  test('a thousand results of a hundred agents are no more than a thousand times one', async () => {
    const agents = await Promise.all(Array.from({ length: 100 }, () => it.agent({ slots: 10 })));
    const tasks = await Promise.all(Array.from({ length: 1_000 }, (_, n) => it.task(agents[n % 100]!)));
    const { fences } = await insertTasks(it.db.hot, tasks);
    const since = performance.now();
    const said = tasks.map((_, n) => result(agents[n % 100]!, fences.get(n)!));
    expect(await applyResults(it.db.hot, said)).toHaveLength(1_000);
    // It takes a fortieth of this, and five seconds where the planner joins the batch with itself.
    expect(performance.now() - since).toBeLessThan(4_000);
    expect(await it.sql`select distinct completed, fold_seq::int from trust`).toEqual([
      { completed: 10, fold_seq: 10 },
    ]);
  });

  describe('the fence', () => {
    test.each([
      ['of another agent', async (_: Life, fence: number) => result(await it.agent(), fence)],
      ['that was never drawn', async (agent: Life, fence: number) => result(agent, fence + 1_000)],
      ['zero', async (agent: Life) => result(agent, 0)],
      [
        'of an agent that does not exist',
        async (_: Life, fence: number) => result({ agent_id: 'agent_none', boot_id: '' }, fence),
      ],
    ])('%s changes nothing', async (_, wrong) => {
      const agent = await it.agent();
      const { task_id, fence } = await lease(agent);
      expect(await applyResults(it.db.hot, [await wrong(agent, fence)])).toEqual([]);
      expect(await it.status(task_id)).toBe('ASSIGNED');
      expect(await it.sql`select agent_id from trust`).toEqual([]);
      expect(await applyResults(it.db.hot, [result(agent, fence)])).toHaveLength(1);
    });

    test('of a life that is over changes nothing, not even beside one that holds it', async () => {
      const agent = await it.agent();
      const { task_id, fence } = await lease(agent);
      const former = { ...agent, boot_id: newId('boot') };
      const said = { run_id: runIdOf(fence), fence };
      expect(await applyResults(it.db.hot, [result(former, fence)])).toEqual([]);
      expect((await noteRuns(it.db.hot, [{ ...former, fence, started: true, progress: '{"percent":1}' }])).size).toBe(
        0,
      );
      expect(await it.status(task_id)).toBe('ASSIGNED');
      const reporter = createReporter({ db: it.db, notifier: quiet }, unverified);
      const verdicts = await Promise.all([
        reporter.report(former, [{ ...said, outcome: 'FAILED' }]),
        reporter.report(agent, [{ ...said, outcome: 'COMPLETED' }]),
        reporter.report(former, [{ ...said, outcome: 'COMPLETED' }]),
      ]);
      expect(verdicts.map(([verdict]) => verdict!.applied)).toEqual([false, true, false]);
      expect(await it.status(task_id)).toBe('COMPLETED');
      expect(await trustOf(agent)).toMatchObject([{ completed: 1, failed: 0 }]);
    });

    test("of a run that another's owner reports of in the same batch changes nothing of that run", async () => {
      const [owner, thief] = [await it.agent(), await it.agent()];
      const [wanted, own] = [await lease(owner), await lease(owner)];
      const applied = await applyResults(it.db.hot, [result(thief, wanted.fence), result(owner, own.fence)]);
      expect(applied.map((it) => it.position)).toEqual([1]);
      expect(await it.status(wanted.task_id)).toBe('ASSIGNED');
    });

    test('a result is applied once, however often it comes', async () => {
      const agent = await it.agent();
      const { fence } = await lease(agent);
      const other = it.openMore();
      const pools = [it.db.hot, other.hot];
      const all = await Promise.all(
        Array.from({ length: 16 }, (_, n) => applyResults(pools[n % 2]!, [result(agent, fence)])),
      );
      expect(all.flat()).toHaveLength(1);
      expect(await findEndedRuns(it.db.hot, [fence, fence + 1])).toEqual(
        new Map([[fence, { fence: String(fence), agent_id: agent.agent_id, status: 'COMPLETED', fault: null }]]),
      );
      expect(await trustOf(agent)).toMatchObject([{ completed: 1 }]);
    });
  });

  describe('what the agent is told', () => {
    const report = (fence: number, outcome: Outcome) => ({ run_id: runIdOf(fence), fence, outcome });
    const reporter = () => createReporter({ db: it.db, notifier: quiet }, unverified);

    test('the same result twice in one batch counts once; both are told the same task', async () => {
      const agent = await it.agent();
      const { fence } = await lease(agent);
      const said = report(fence, 'COMPLETED');
      expect(await reporter().report(agent, [said, said, said])).toEqual([
        { applied: true, task_status: 'COMPLETED' },
        { applied: false },
        { applied: false },
      ]);
      expect(await reportResult({ db: it.db, reporter: reporter() }, agent, said)).toEqual({
        applied: false,
        task_status: 'COMPLETED',
      });
    });

    test('a contradiction is stale, and the first word stands', async () => {
      const agent = await it.agent();
      const { fence, task_id } = await lease(agent, { max_retries: 0 });
      const verdicts = await reporter().report(agent, [report(fence, 'FAILED'), report(fence, 'COMPLETED')]);
      expect(verdicts).toEqual([
        { applied: true, task_status: 'FAILED' },
        { applied: false, code: 'stale-lease' },
      ]);
      expect(await it.status(task_id)).toBe('FAILED');
    });

    test("an agent that names another's run in the same batch is told that it is stale, the owner that it is applied", async () => {
      const [owner, thief] = [await it.agent(), await it.agent()];
      const one = reporter();
      for (const thiefFirst of [true, false]) {
        const { fence } = await lease(owner);
        const said = report(fence, 'COMPLETED');
        const order = thiefFirst ? [thief, owner] : [owner, thief];
        const verdicts = await Promise.all(order.map((agent) => one.report(agent, [said])));
        const by = new Map(order.map((agent, n) => [agent, verdicts[n]![0]]));
        expect(by.get(owner)).toEqual({ applied: true, task_status: 'COMPLETED' });
        expect(by.get(thief)).toEqual({ applied: false, code: 'stale-lease' });
      }
    });

    test('a run id with the fence of another run holds nothing', async () => {
      const agent = await it.agent();
      const [one, two] = [await lease(agent), await lease(agent)];
      const said = { run_id: runIdOf(one.fence), fence: two.fence, outcome: 'COMPLETED' as const };
      expect(await reporter().report(agent, [said])).toEqual([{ applied: false, code: 'stale-lease' }]);
      await expect(reportResult({ db: it.db, reporter: reporter() }, agent, said)).rejects.toMatchObject({
        code: 'stale-lease',
      });
    });

    test.each([
      ['COMPLETED', { applied: false, code: 'task-terminal' }, { applied: false, code: 'task-terminal' }],
      ['CANCELLED', { applied: true, task_status: 'CANCELLED' }, { applied: false }],
    ] as const)('after a cancel, %s', async (outcome, first, again) => {
      const agent = await it.agent();
      const { fence, task_id } = await lease(agent);
      await cancelTask(it.sql, task_id, null);
      const said = report(fence, outcome);
      expect(await reporter().report(agent, [said])).toEqual([first]);
      expect(await reporter().report(agent, [said])).toEqual([again]);
      expect(await it.status(task_id)).toBe('CANCELLED');
      expect(await it.sql`select status, fold_seq from runs`).toEqual([{ status: 'CANCELLED', fold_seq: null }]);
    });

    test('of one batch, a value Postgres refuses fails alone', async () => {
      const agent = await it.agent();
      const runs = [await lease(agent), await lease(agent), await lease(agent)];
      const one = reporter();
      const answers = await Promise.allSettled(
        runs.map(({ fence }, n) =>
          one.report(agent, [{ ...report(fence, 'COMPLETED'), error: { message: n === 1 ? '\0' : 'fine' } }]),
        ),
      );
      expect(answers.map((answer) => answer.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect(await Promise.all(runs.map((run) => it.status(run.task_id)))).toEqual([
        'COMPLETED',
        'ASSIGNED',
        'COMPLETED',
      ]);
    });
  });
});
