import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { type Life, openRows, type Rows, unverified } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { setMode } from '../../agents/store/write.ts';
import { beatCoordinator } from '../../ops/store.ts';
import { createClasses } from '../../tasks/classes.ts';
import { createLimits } from '../../tasks/limits.ts';
import { insertTasks, type NewTask } from '../../tasks/store/submit.ts';
import { cancelTask } from '../../tasks/store/transitions.ts';
import { createClaimer } from '../claim.ts';
import { createNoter } from '../heartbeat.ts';
import { bootAgent, leaveAgent, revokeAgent } from './boot.ts';
import { type Beat, beatAgents, LEASE_TTL_MS, noteRuns } from './heartbeat.ts';
import type { ClaimedRun } from './held-runs.ts';
import { reapLeases, timeOutRuns } from './reap.ts';
import { applyResults } from './results.ts';

describe.each([18, 15] as const)('the lives of agents on Postgres %i', (major) => {
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
  const beatOf = (agent: Life, ...fences: number[]): Beat => ({
    ...agent,
    health: 'OK',
    slots_free: 1,
    uptime_ms: null,
    metrics: null,
    fences,
  });
  const boot = (agent: Life, over: Partial<Parameters<typeof bootAgent>[1]> = {}) =>
    bootAgent(it.sql, {
      agentId: agent.agent_id,
      bootId: newId('boot'),
      jkt: agent.agent_id,
      jti: newId('req'),
      exp: 2_000_000_000,
      ...over,
    });
  const claim = async (agent: Life, want = 1) =>
    (await it.claim(it.db.hot, [{ ...agent, want }], [await it.classOf('echo')])).get(agent.agent_id)!;
  const complete = (agent: Life, fence: number) =>
    applyResults(it.db.hot, [
      { ...agent, fence, status: 'COMPLETED', fault: null, retryable: true, result_data: null, error: null },
    ]);
  const agentRow = async ({ agent_id }: Life) => (await it.sql`select * from agents where agent_id = ${agent_id}`)[0]!;
  const lostOf = async () => (await it.sql`select coalesce(sum(lost), 0)::int as n from trust`)[0]!.n as number;

  describe('a beat', () => {
    test('moves the lease by its length, and says which runs are held and which are to stop', async () => {
      const [agent, other] = [await it.agent({ lease_seconds: 10 }), await it.agent()];
      const [held, stopped, foreign] = [await lease(agent), await lease(agent), await lease(other)];
      await cancelTask(it.sql, stopped.task_id, null);
      await noteRuns(it.db.hot, [{ ...agent, fence: held.fence, started: true, progress: null }]);
      const answers = await beatAgents(it.db.hot, [
        { ...beatOf(agent, held.fence, stopped.fence, foreign.fence, 999_999), metrics: '{"load":1}', uptime_ms: 7 },
        beatOf(other),
      ]);
      const answer = answers.get(agent.agent_id)!;
      expect(answer.held).toEqual(
        new Map([
          [held.fence, { cancel: false, started: true }],
          [stopped.fence, { cancel: true, started: false }],
        ]),
      );
      expect(Date.parse(answer.lease_expires_at) - Date.parse(answer.server_time)).toBe(LEASE_TTL_MS);
      expect(answers.get(other.agent_id)!.held.size).toBe(0);
      const [kept] = await it.sql`
        select metrics, uptime_ms::int, health, last_seen_at, lease_expires_at from presence where agent_id = ${agent.agent_id}`;
      expect(kept).toEqual({
        metrics: { load: 1 },
        uptime_ms: 7,
        health: 'OK',
        last_seen_at: new Date(answer.server_time),
        lease_expires_at: new Date(answer.lease_expires_at),
      });
    });

    test.each([
      ['superseded', async (agent: Life) => ({ ...agent, boot_id: 'boot_old' })],
      ['unknown', async () => ({ agent_id: 'agent_none', boot_id: 'boot_none' })],
      [
        'revoked',
        async (agent: Life) => {
          await revokeAgent(it.sql, agent.agent_id);
          return agent;
        },
      ],
    ])('of an agent that is %s is not answered and moves nothing', async (_, who) => {
      const agent = await it.agent({ lease_seconds: 5 });
      const life = await who(agent);
      const before = await it.sql`select * from presence`;
      expect((await beatAgents(it.db.hot, [beatOf(life)])).size).toBe(0);
      expect(await it.sql`select * from presence`).toEqual(before);
    });
  });

  describe('a note on a run', () => {
    test('is kept with those before it; the start counts once', async () => {
      const agent = await it.agent();
      const { fence, task_id } = await lease(agent);
      const note = (started: boolean, progress: object | null) =>
        noteRuns(it.db.hot, [{ ...agent, fence, started, progress: progress && JSON.stringify(progress) }]);
      await note(false, { percent: 1, message: 'a' });
      expect(await it.status(task_id)).toBe('ASSIGNED');
      await note(true, null);
      const [first] = await it.sql`select started_at from leases`;
      await it.clock.advance('3s');
      await note(true, { percent: 2 });
      expect(await it.sql`select started_at, progress from leases`).toEqual([
        { ...first, progress: { percent: 2, message: 'a' } },
      ]);
      await cancelTask(it.sql, task_id, null);
      expect((await note(true, null)).get(fence)).toMatchObject({ cancel: true });
    });

    test("by another agent is not taken, and does not spoil the owner's in the same batch", async () => {
      const [owner, thief] = [await it.agent(), await it.agent()];
      const { fence } = await lease(owner);
      const note = createNoter({ db: it.db });
      const said = (agent: Life, percent: number) =>
        note({ ...agent, fence, started: agent === owner, progress: `{"percent":${percent}}` });
      expect(await Promise.all([said(thief, 66), said(owner, 1), said(thief, 77)])).toEqual([
        undefined,
        { ...owner, cancel: false },
        undefined,
      ]);
      expect(await it.sql`select progress, started_at is not null as started from leases`).toEqual([
        { progress: { percent: 1 }, started: true },
      ]);
    });
  });

  describe('the reaper', () => {
    test('queues what a dead agent held, counted as an attempt and a failure, with the reason', async () => {
      const [dead, live] = [await it.agent(), await it.agent()];
      const [lost, kept] = [await lease(dead), await lease(live)];
      await it.clock.advance('29s', { beats: 'missed' });
      await beatAgents(it.db.hot, [beatOf(live)]);
      expect(await reapLeases(it.sql, 10)).toEqual({ count: 0, ready: [] });
      await it.clock.advance('2s', { beats: 'missed' });
      expect(await reapLeases(it.sql, 10)).toEqual({ count: 1, ready: [await it.classOf('echo')] });
      expect([await it.status(lost.task_id), await it.status(kept.task_id)]).toEqual(['PENDING', 'ASSIGNED']);
      expect(await it.sql`select attempt, failures from ready`).toEqual([{ attempt: 1, failures: 1 }]);
      const [run] = await it.sql`select status, fault, error from runs`;
      expect(run).toMatchObject({ status: 'LOST', fault: 'agent', error: { code: 'lease-lost' } });
      expect(await lostOf()).toBe(1);
      expect(await complete(dead, lost.fence)).toEqual([]);
      expect(await reapLeases(it.sql, 10)).toEqual({ count: 0, ready: [] });
    });

    test('ends a task that was lost too often, and frees the slot of a run that was to stop', async () => {
      const dead = await it.agent();
      const [lost, stopped] = [await lease(dead, { max_retries: 0 }), await lease(dead)];
      await cancelTask(it.sql, stopped.task_id, null);
      await it.clock.advance('31s', { beats: 'missed' });
      expect(await reapLeases(it.sql, 10)).toEqual({ count: 2, ready: [] });
      expect([await it.status(lost.task_id), await it.status(stopped.task_id)]).toEqual(['FAILED', 'CANCELLED']);
      expect(await it.sql`select dead_letter from task_state where task_id = ${lost.task_id}`).toEqual([
        { dead_letter: true },
      ]);
      expect((await agentRow(dead)).slots_used).toBe(0);
    });

    test('waits one lease after a time without coordinators: who could not beat is not dead', async () => {
      const agent = await it.agent();
      await lease(agent, { timeout_seconds: 1 });
      const coordinator = newId('coord');
      // Unlike the clock of the kit, this lets the coordinators' beats stop too.
      const pass = (seconds: number) => it.sql`update muster_clock set ahead = ahead + ${seconds} * interval '1 s'`;
      await beatCoordinator(it.sql, coordinator, '');
      await pass(60);
      await beatCoordinator(it.sql, coordinator, '');
      for (const seconds of [0, 4, 4, 4, 4, 4, 4, 4, 1]) {
        await pass(seconds);
        await beatCoordinator(it.sql, coordinator, '');
        expect(await reapLeases(it.sql, 10), `${seconds}`).toMatchObject({ count: 0 });
        expect(await timeOutRuns(it.sql, 10)).toMatchObject({ count: 0 });
      }
      await pass(2);
      expect(await reapLeases(it.sql, 10)).toMatchObject({ count: 1 });
    });

    test('does not wait for an agent that somebody has in hand', async () => {
      const [busy, dead] = [await it.agent({ lease_seconds: -1 }), await it.agent({ lease_seconds: -1 })];
      await it.sql`update presence set lease_expires_at = lease_expires_at + interval '1 minute'`;
      await lease(busy);
      await lease(dead);
      await it.sql`update presence set lease_expires_at = lease_expires_at - interval '1 minute'`;
      const other = it.openMore({ adminConnections: 1 });
      const held = await other.admin.reserve();
      await held`begin`;
      try {
        await held`select 1 from agents where agent_id = ${busy.agent_id} for no key update`;
        await it.sql.unsafe(`alter database ${new URL(it.url).pathname.slice(1)} set lock_timeout = '5s'`);
        const reaping = it.openMore({ adminConnections: 1 });
        expect(await reapLeases(reaping.admin, 10)).toMatchObject({ count: 1 });
      } finally {
        await held`rollback`;
        held.release();
      }
      expect(await reapLeases(it.sql, 10)).toMatchObject({ count: 1 });
    });

    test('times out what runs too long, from its start or else its assignment', async () => {
      const agent = await it.agent();
      const [assigned, started, long] = [
        await lease(agent, { timeout_seconds: 10 }),
        await lease(agent, { timeout_seconds: 10 }),
        await lease(agent, { timeout_seconds: 60 }),
      ];
      await it.clock.advance('8s');
      await noteRuns(it.db.hot, [{ ...agent, fence: started.fence, started: true, progress: null }]);
      expect(await timeOutRuns(it.sql, 10)).toMatchObject({ count: 0 });
      await it.clock.advance('3s');
      expect(await timeOutRuns(it.sql, 10)).toMatchObject({ count: 1 });
      const statuses = () => Promise.all([assigned, started, long].map((run) => it.status(run.task_id)));
      expect(await statuses()).toEqual(['PENDING', 'RUNNING', 'ASSIGNED']);
      await it.clock.advance('8s');
      expect(await timeOutRuns(it.sql, 10)).toMatchObject({ count: 1 });
      expect(await statuses()).toEqual(['PENDING', 'PENDING', 'ASSIGNED']);
      expect(await it.sql`select status, fault, error ->> 'code' as code from runs`).toEqual([
        { status: 'TIMED_OUT', fault: 'agent', code: 'timeout' },
        { status: 'TIMED_OUT', fault: 'agent', code: 'timeout' },
      ]);
    });
  });

  describe('an agent that goes', () => {
    test('gives back what it holds at once, and nobody is blamed', async () => {
      const agent = await it.agent();
      const { task_id, fence } = await lease(agent);
      expect(await leaveAgent(it.sql, agent.agent_id, 'boot_old')).toBeUndefined();
      expect(await leaveAgent(it.sql, agent.agent_id, agent.boot_id)).toMatchObject({
        requeued: 1,
        ready: [await it.classOf('echo')],
      });
      expect(await it.status(task_id)).toBe('PENDING');
      expect(await it.sql`select status, error ->> 'code' as code, fold_seq from runs`).toEqual([
        { status: 'RETURNED', code: 'left', fold_seq: null },
      ]);
      expect(await it.sql`select attempt, failures from ready`).toEqual([{ attempt: 1, failures: 0 }]);
      expect(await complete(agent, fence)).toEqual([]);
      expect(await claim(agent)).toMatchObject({ current: false, able: false, runs: [] });
      expect((await beatAgents(it.db.hot, [beatOf(agent)])).size, 'nor does it beat').toBe(0);
      expect(await leaveAgent(it.sql, agent.agent_id, agent.boot_id)).toBeUndefined();
      expect(await it.eventsOf(agent.agent_id)).toEqual(['agent.left']);
    });

    test('because it is revoked loses everything, once', async () => {
      const agent = await it.agent();
      const { task_id } = await lease(agent);
      expect(await revokeAgent(it.sql, agent.agent_id)).toMatchObject({ requeued: 1 });
      expect(await revokeAgent(it.sql, agent.agent_id)).toBeUndefined();
      expect(await revokeAgent(it.sql, 'agent_none')).toBeUndefined();
      expect(await it.status(task_id)).toBe('PENDING');
      expect(await agentRow(agent)).toMatchObject({ mode: 'REVOKED', slots_used: 0 });
      expect(await lostOf()).toBe(0);
      expect(await boot(agent)).toBeUndefined();
      for (const [verb, mode] of [
        ['cordon', 'CORDONED'],
        ['uncordon', 'OPEN'],
        ['drain', 'DRAINING'],
      ] as const)
        expect(await setMode(it.sql, agent.agent_id, verb, mode)).toBeUndefined();
      expect(await it.eventsOf(agent.agent_id)).toEqual(['agent.revoked']);
    });
  });

  describe('a new life', () => {
    test('fences the old one: its runs are lost and queued again, its words change nothing', async () => {
      const agent = await it.agent({ lease_seconds: 3 });
      const { task_id, fence } = await lease(agent);
      const bootId = newId('boot');
      expect(await boot(agent, { bootId })).toMatchObject({ requeued: 1, ready: [await it.classOf('echo')] });
      expect(await it.status(task_id)).toBe('PENDING');
      expect(await it.sql`select status, error ->> 'code' as code from runs`).toEqual([
        { status: 'LOST', code: 'superseded' },
      ]);
      expect(await complete(agent, fence)).toEqual([]);
      expect(await claim(agent)).toMatchObject({ current: false, runs: [] });
      expect((await claim({ ...agent, boot_id: bootId })).runs).toHaveLength(1);
      expect(await boot(agent)).toBeDefined();
      expect(await boot(agent, { bootId }), 'a life that is over').toBeUndefined();
      expect(await boot(agent, { bootId: agent.boot_id }), 'nor the first one').toBeUndefined();
    });

    test('that is the same keeps what it holds', async () => {
      const agent = await it.agent();
      const { fence } = await lease(agent);
      expect(await boot(agent, { bootId: agent.boot_id })).toMatchObject({ requeued: 0, ready: [] });
      expect(await complete(agent, fence)).toHaveLength(1);
    });

    test('announces what changed; what an admin said of the agent stands', async () => {
      const [drains, cordoned] = [await it.agent(), await it.agent()];
      await setMode(it.sql, drains.agent_id, 'drain', 'DRAINING');
      await setMode(it.sql, cordoned.agent_id, 'cordon', 'CORDONED');
      await boot(drains, {
        announcement: { display_name: 'n', capabilities: ['a', 'b:v1'], slots: 9, labels: { x: 'y' } },
      });
      await boot(cordoned);
      expect(await agentRow(drains)).toMatchObject({
        mode: 'DRAINING',
        display_name: 'n',
        capabilities: ['a', 'b:v1'],
        slots: 9,
        labels: { x: 'y' },
      });
      expect(await agentRow(cordoned)).toMatchObject({
        mode: 'CORDONED',
        display_name: 'an agent',
        capabilities: ['echo'],
        slots: 4,
      });
      expect(await it.eventsOf(drains.agent_id)).toEqual(['agent.draining', 'agent.booted']);
    });

    test('is not begun by the word of a key the agent has no more, and costs that proof nothing', async () => {
      const agent = await it.agent();
      const { boot_id: before } = await agentRow(agent);
      expect(await boot(agent, { jkt: 'a former key', jti: 'one' })).toBeUndefined();
      expect((await agentRow(agent)).boot_id).toBe(before);
      expect(await it.sql`select * from used_jtis`).toEqual([]);
    });

    test('is begun once with one proof', async () => {
      const agent = await it.agent();
      expect(await boot(agent, { jti: 'one' })).toBeDefined();
      await expect(boot(agent, { jti: 'one' })).rejects.toMatchObject({ code: '23505' });
    });
  });

  describe('what an agent was given in the very moment', () => {
    /** Does `work` while a claim of the agent's is on its way: it holds the agent's row and is not committed yet. */
    const whileClaiming = async <T>(agent: Life, work: () => Promise<T>) => {
      const { hot } = it.openMore({ hotConnections: 1 });
      await hot`begin`;
      const standings = await it.claim(hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
      const working = work();
      await eventually(async () => {
        const waiting =
          await it.sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
        return waiting.length > 0;
      });
      await hot`commit`;
      return { fence: standings.get(agent.agent_id)!.runs[0]!.fence, done: await working };
    };

    test.each([
      ['it started again', (agent: Life) => boot(agent), 'LOST'],
      ['it left', (agent: Life) => leaveAgent(it.sql, agent.agent_id, agent.boot_id), 'RETURNED'],
      ['it was revoked', (agent: Life) => revokeAgent(it.sql, agent.agent_id), 'LOST'],
    ] as const)('%s goes the same way', async (_, go, status) => {
      const agent = await it.agent();
      const earlier = await lease(agent);
      const [id] = await it.submit({});
      const { fence, done } = await whileClaiming(agent, () => go(agent));
      expect(done).toMatchObject({ requeued: 2, ready: Array(2).fill(await it.classOf('echo')) });
      expect(await it.sql`select distinct status from runs`).toEqual([{ status }]);
      expect(await complete(agent, fence)).toEqual([]);
      expect(await Promise.all([id!, earlier.task_id].map((task) => it.status(task)))).toEqual(['PENDING', 'PENDING']);
      expect(await it.eventsOf(agent.agent_id)).toHaveLength(1);
    });

    test('it renewed its token is kept', async () => {
      const agent = await it.agent();
      await it.submit({});
      const { fence } = await whileClaiming(agent, () => boot(agent, { bootId: agent.boot_id }));
      expect(await complete(agent, fence)).toHaveLength(1);
    });
  });

  test('two lives of one agent that ask in one batch each learn how they stand', async () => {
    const old = await it.agent();
    await it.submit({}, {});
    const bootId = newId('boot');
    await boot(old, { bootId });
    const classIds = [await it.classOf('echo')];
    const classes = createClasses(it.sql);
    await classes.refresh();
    const ask = createClaimer({ db: it.db }, classes, createLimits(it.sql), unverified);
    for (const oldFirst of [true, false]) {
      const lives = [old, { ...old, boot_id: bootId }];
      const asked = oldFirst ? lives : lives.reverse();
      const answers = await Promise.all(asked.map((life) => ask({ ...life, want: 1, classIds })));
      const standings = asked.map((life, n) => [life === old, answers[n]!.current, answers[n]!.runs.length]);
      expect(standings.sort()).toEqual([
        [false, true, 1],
        [true, false, 0],
      ]);
    }
  });

  test('what was given of what is wanted is told, though the rest cannot be had', async () => {
    const agent = await it.agent();
    const run = { fence: 1, task_id: 'task_x' } as ClaimedRun;
    const verifier = { ...unverified, wants: () => true, claim: async () => [run] };
    const lost = new Error('lost');
    const classes = {
      costly: new Set<number>(),
      find: () => {
        throw lost;
      },
    };
    const claim = (gives: typeof verifier) =>
      createClaimer({ db: it.db }, classes, createLimits(it.sql), gives)({ ...agent, want: 2, classIds: [1] });
    expect(await claim(verifier)).toMatchObject({ current: true, able: true, runs: [run] });
    await expect(claim({ ...verifier, claim: async () => [] })).rejects.toBe(lost);
  });

  test('an admin moves an agent only as the table says, with one event each', async () => {
    const agent = await it.agent();
    const move = (verb: 'cordon' | 'uncordon' | 'drain', mode: 'CORDONED' | 'OPEN' | 'DRAINING') =>
      setMode(it.sql, agent.agent_id, verb, mode);
    expect(await move('uncordon', 'OPEN')).toBeUndefined();
    expect(await move('cordon', 'CORDONED')).toBeDefined();
    expect(await move('cordon', 'CORDONED')).toBeUndefined();
    expect(await move('drain', 'DRAINING')).toBeDefined();
    expect(await move('cordon', 'CORDONED')).toBeDefined();
    expect(await move('uncordon', 'OPEN')).toBeDefined();
    expect(await it.eventsOf(agent.agent_id)).toEqual([
      'agent.cordoned',
      'agent.draining',
      'agent.cordoned',
      'agent.uncordoned',
    ]);
  });
});
