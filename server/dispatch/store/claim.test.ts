import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { insertTasks } from '../../tasks/store/submit.ts';
import { cancelTask } from '../../tasks/store/transitions.ts';
import { findReadyClasses } from './claim.ts';
import { findHeldRuns, listHeldRuns } from './held-runs.ts';

describe.each([18, 15] as const)('claiming on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const claim = async (claims: (Life & { want: number })[], capabilities = ['echo']) =>
    it.claim(it.db.hot, claims, await Promise.all(capabilities.map((name) => it.classOf(name))));
  /** What one agent with room for everything is given, in the order of the fences. */
  const claimAll = async (want = 100, capabilities?: string[]) => {
    const agent = await it.agent({ slots: 1_000 });
    return (await claim([{ ...agent, want }], capabilities)).get(agent.agent_id)!.runs;
  };
  const minutesAgo = async (minutes: number) =>
    new Date((await it.clock.now()).getTime() - minutes * 60_000).toISOString();

  test('a run is told with all it takes, and the task is assigned', async () => {
    const [id] = await it.submit({
      input_data: '{"a": "ü\\"\\\\"}',
      timeout_seconds: 9,
      traceparent: '00-ab',
      task_type: 'type',
    });
    const [run] = await claimAll();
    expect(run).toEqual({
      fence: expect.any(Number),
      task_id: id,
      checkpoint: null,
      task_type: 'type',
      capability_required: 'echo',
      input_data: '{"a": "ü\\"\\\\"}',
      attempt: 1,
      timeout_seconds: 9,
      slot_cost: 1,
      traceparent: '00-ab',
    });
    expect(await it.status(id!)).toBe('ASSIGNED');
    expect(await it.eventsOf(id!)).toEqual(['task.created', 'run.assigned']);
  });

  describe('the order of the queue', () => {
    test('priority 10 goes before 1, and between equals the older', async () => {
      const ids: string[] = [];
      for (const priority of [1, 10, 5, 10]) ids.push(...(await it.submit({ priority })));
      expect((await claimAll()).map((run) => ids.indexOf(run.task_id))).toEqual([1, 3, 2, 0]);
    });

    test('five minutes of waiting outweigh one step of priority, and not a moment less', async () => {
      const [high, justYounger, older] = await it.submit(
        { priority: 10 },
        { priority: 1, run_at: await minutesAgo(44.9) },
        { priority: 1, run_at: await minutesAgo(45.1) },
      );
      expect((await claimAll()).map((run) => run.task_id)).toEqual([older, high, justYounger]);
    });

    test('goes over all classes an agent fits, and leaves the others', async () => {
      const [other, echo, foreign] = await it.submit(
        { capability_required: 'other', priority: 9 },
        { priority: 10 },
        { capability_required: 'foreign', priority: 10 },
      );
      await it.submit({ capability_required: 'other', priority: 2 });
      const runs = await claimAll(2, ['other', 'echo']);
      expect(runs.map((run) => run.task_id)).toEqual([echo, other]);
      expect(await it.status(foreign!)).toBe('PENDING');
      expect(await it.sql`select count(*)::int as n from ready`).toEqual([{ n: 2 }]);
    });
  });

  describe('who is given work', () => {
    test('an agent never gets more than its free slots, nor more than it wants', async () => {
      await it.submit(...Array.from({ length: 10 }, () => ({})));
      const agent = await it.agent({ slots: 5 });
      const ask = async (want: number) => (await claim([{ ...agent, want }])).get(agent.agent_id)!;
      expect((await ask(2)).runs).toHaveLength(2);
      expect(await ask(9)).toMatchObject({ slots_used: 2, runs: { length: 3 } });
      expect(await ask(1)).toMatchObject({ slots_used: 5, runs: [] });
      await it.sql`update agents set slots = 3`;
      expect((await ask(9)).runs).toEqual([]);
    });

    test.each([
      ['is cordoned', { mode: 'CORDONED' }, {}, { mode: 'CORDONED', current: true }],
      ['drains', { mode: 'DRAINING' }, {}, { mode: 'DRAINING', current: true }],
      ['was revoked', { mode: 'REVOKED' }, {}, { mode: 'REVOKED', current: true }],
      ['has not beaten for a lease', { lease_seconds: -1 }, {}, { mode: 'OPEN', current: true }],
      ['has started again since', {}, { boot_id: 'boot_old' }, { mode: 'OPEN', current: false }],
    ])('none to an agent that %s', async (_, seed, ask, standing) => {
      await it.submit({});
      const agent = await it.agent(seed);
      const answer = await claim([{ ...agent, ...ask, want: 1 }]);
      expect(answer.get(agent.agent_id)).toMatchObject({ ...standing, runs: [] });
      expect(await it.sql`select 1 from leases`).toHaveLength(0);
    });

    test.each([[['echo']], [['echo', 'other']]])(
      'an agent that does not exist is not in the answer, and takes nothing of %j',
      async (capabilities) => {
        await it.submit({}, {});
        expect((await claim([{ agent_id: 'agent_none', boot_id: 'boot', want: 1 }], capabilities)).size).toBe(0);
        expect(await it.sql`select from ready`).toHaveLength(2);
      },
    );

    test('what there is is shared out in turns, to those that can take it', async () => {
      await it.submit(...Array.from({ length: 8 }, () => ({})));
      const agents = await Promise.all([1, 10, 10, 10].map((slots) => it.agent({ slots })));
      const standings = await claim([
        { ...agents[0]!, want: 5 },
        { ...agents[1]!, want: 5 },
        { ...agents[2]!, want: 2 },
        { ...agents[3]!, want: 5 },
      ]);
      expect(agents.map(({ agent_id }) => standings.get(agent_id)!.runs.length)).toEqual([1, 3, 2, 2]);
    });

    test('one that asks for nothing learns how it stands', async () => {
      await it.submit({});
      const agent = await it.agent();
      expect((await claim([{ ...agent, want: 0 }])).get(agent.agent_id)).toMatchObject({ current: true, runs: [] });
    });
  });

  test('what an agent holds can be told again, with the same fences, and what of it is to stop', async () => {
    const agent = await it.agent();
    const [kept, stopped] = [await it.task(agent), await it.task(agent)];
    const { fences } = await insertTasks(it.db.hot, [kept, stopped]);
    await cancelTask(it.sql, stopped.task_id, null);
    const held = await listHeldRuns(it.db.hot, agent.agent_id);
    expect(held).toMatchObject([
      { fence: fences.get(0), task_id: kept.task_id, attempt: 1, input_data: '{}', cancel: false },
      { fence: fences.get(1), task_id: stopped.task_id, cancel: true },
    ]);
    const other = await it.agent();
    const named = [fences.get(1)!, fences.get(0)!, 999_999];
    expect(await findHeldRuns(it.db.hot, agent.agent_id, named)).toEqual([
      { fence: fences.get(0), cancel: false, slot_cost: 1 },
      { fence: fences.get(1), cancel: true, slot_cost: 1 },
    ]);
    expect(await findHeldRuns(it.db.hot, other.agent_id, named)).toEqual([]);
  });

  test('classes with work are found, whichever are asked for', async () => {
    await it.submit(
      {},
      {},
      { capability_required: 'other' },
      { capability_required: 'late', run_at: '2999-01-01T00:00:00Z' },
    );
    const [echo, other, late, none] = await Promise.all(
      ['echo', 'other', 'late', 'none'].map((name) => it.classOf(name)),
    );
    expect(await findReadyClasses(it.db.hot, [late!, echo!, none!, other!])).toEqual([echo, other]);
    expect(await findReadyClasses(it.db.hot, [])).toEqual([]);
  });
});
