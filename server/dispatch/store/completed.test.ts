import { eventually } from '@muster/testing/eventually';
import { type Life, openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { admitGated, setLimits } from '../../tasks/store/concurrency.ts';
import { settleDependencies } from '../../tasks/store/dependencies.ts';
import type { NewTask } from '../../tasks/store/submit.ts';
import { cancelTask } from '../../tasks/store/transitions.ts';
import { applyResults, type NewResult } from './results.ts';

describe.each([18, 15] as const)('completed runs on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** Runs of an agent's, one of each of these tasks. */
  const begin = async (...seeds: Partial<NewTask>[]) => {
    const agent = await it.agent({ slots: 10 });
    const ids: string[] = [];
    for (const seed of seeds) ids.push(...(await it.submit(seed)));
    await admitGated(it.sql, 10);
    const standings = await it.claim(it.db.hot, [{ ...agent, want: 10 }], [await it.classOf('echo')]);
    const { runs } = standings.get(agent.agent_id)!;
    const fences = ids.map((id) => runs.find(({ task_id }) => task_id === id)!.fence);
    return { agent, ids, fences };
  };
  const completed = (agent: Life, fences: readonly number[], error: string | null = null): NewResult[] =>
    fences.map((fence) => ({
      ...agent,
      fence,
      status: 'COMPLETED',
      fault: null,
      retryable: true,
      result_data: '1',
      error,
    }));
  const openOf = () => it.sql`select open from blocked`;

  /** How many are applied together, and whether by the full form. */
  const forms = [
    ['alone', 0, null],
    ['among others', 2, null],
    ['in full', 0, '{}'],
  ] as const;

  test('of one life, of several and in full: what many come to in trust is the same, each with a number of its own', async () => {
    const four = [{}, {}, {}, {}];
    const [sole, one, other, full] = [
      await begin(...four),
      await begin(...four),
      await begin(...four),
      await begin(...four),
    ];
    await applyResults(it.db.hot, completed(sole.agent, sole.fences));
    await applyResults(it.db.hot, [...completed(one.agent, one.fences), ...completed(other.agent, other.fences)]);
    await applyResults(it.db.hot, completed(full.agent, full.fences, '{}'));
    const trust = await it.sql<
      { dependable: number }[]
    >`select dependable, undependable, completed, fold_seq::int from trust`;
    const expected = 1 + 0.97 + 0.97 ** 2 + 0.97 ** 3;
    expect(trust).toEqual(
      Array.from({ length: 4 }, () => ({
        dependable: expect.closeTo(expected, 12),
        undependable: 0,
        completed: 4,
        fold_seq: 4,
      })),
    );
    expect(await it.sql`select array_agg(fold_seq::int order by fence) as seqs from runs group by agent_id`).toEqual(
      Array.from({ length: 4 }, () => ({ seqs: [1, 2, 3, 4] })),
    );
  });

  describe.each(forms)('%s', (_, others, error) => {
    const plain = Array.from({ length: others }, () => ({}));

    test('one of a task that others wait for counts them down', async () => {
      const { agent, ids, fences } = await begin({}, ...plain);
      await it.submit({ depends_on: [ids[0]!], on_dependency_failure: 'fail' });
      const applied = await applyResults(it.db.hot, completed(agent, fences, error));
      expect(applied.toSorted((a, b) => a.position - b.position).map((it) => it.awaited)).toEqual([
        true,
        ...plain.map(() => false),
      ]);
      expect(await openOf()).toEqual([{ open: 0 }]);
    });

    test('what it took is kept with it', async () => {
      const { agent, fences } = await begin({}, ...plain);
      const [first, ...rest] = completed(agent, fences, error);
      expect(await applyResults(it.db.hot, [{ ...first!, usage: '{"cpu_ms":5}' }, ...rest])).toHaveLength(1 + others);
      expect(await it.sql`select usage from runs order by fence`).toEqual([
        { usage: { cpu_ms: 5 } },
        ...plain.map(() => ({ usage: null })),
      ]);
    });

    test('one of a task with a key lets go of it', async () => {
      await setLimits(it.sql, 'admin', new Map([['c', 1]]));
      const { agent, fences } = await begin({ unique_key: 'u' }, { concurrency_key: 'c' }, ...plain);
      expect(await applyResults(it.db.hot, completed(agent, fences, error))).toHaveLength(2 + others);
      expect(await it.sql`select from unique_keys`).toHaveLength(0);
      expect(await it.sql`select held from concurrency_limits`).toEqual([{ held: 0 }]);
    });

    test('one of a task that was cancelled says so', async () => {
      const { agent, ids, fences } = await begin({}, ...plain);
      await cancelTask(it.sql, ids[0]!, null);
      const applied = await applyResults(it.db.hot, completed(agent, fences, error));
      expect(applied.find(({ position }) => position === 0)).toMatchObject({ next: 'none', run_status: 'CANCELLED' });
      expect(applied).toHaveLength(1 + others);
      expect(await it.status(ids[0]!)).toBe('CANCELLED');
    });

    /** Applies them while a transaction has done `held` to their agent's row, and does `meanwhile` when they have begun, and so have their snapshot. */
    const applyAround = async (results: NewResult[], meanwhile: () => Promise<unknown>, held = 'boot_id = boot_id') => {
      const { admin } = it.openMore({ adminConnections: 1 });
      await admin`begin`;
      await admin.unsafe(`update agents set ${held}`);
      const applying = applyResults(it.db.hot, results);
      await eventually(
        async () =>
          (await it.sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
            .length > 0,
      );
      await meanwhile();
      await admin`commit`;
      return applying;
    };

    test('one whose task somebody begins to wait for meanwhile is found by the look that follows', async () => {
      const { agent, ids, fences } = await begin({}, ...plain);
      const applied = await applyAround(completed(agent, fences, error), async () => {
        const [waits] = await it.submit({ depends_on: [ids[0]!], on_dependency_failure: 'fail' });
        expect(await settleDependencies(it.sql, { taskIds: [waits!] })).toMatchObject({ settled: 0 });
      });
      expect(applied).toHaveLength(1 + others);
      expect(await openOf()).toEqual([{ open: 1 }]);
      expect(await settleDependencies(it.sql, { seconds: 60 })).toMatchObject({ settled: 1 });
      expect(await openOf()).toEqual([{ open: 0 }]);
    });

    test('one that is cancelled meanwhile says so', async () => {
      const { agent, ids, fences } = await begin({}, ...plain);
      const applied = await applyAround(completed(agent, fences, error), () => cancelTask(it.sql, ids[0]!, null));
      expect(applied.find(({ position }) => position === 0)).toMatchObject({ next: 'none', run_status: 'CANCELLED' });
      expect(applied).toHaveLength(1 + others);
    });

    test('one whose life ends meanwhile changes nothing', async () => {
      const { agent, ids, fences } = await begin({}, ...plain);
      expect(await applyAround(completed(agent, fences, error), async () => {}, `boot_id = 'boot_new'`)).toEqual([]);
      expect(await it.status(ids[0]!)).toBe('ASSIGNED');
      expect(await it.sql`select from trust`).toHaveLength(0);
    });
  });
});
