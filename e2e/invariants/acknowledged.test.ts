import { createBatch } from '@muster/shared/contract/batches';
import { createSchedule } from '@muster/shared/contract/schedules';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { startNetwork, type TestNetwork } from '../fixtures/network.ts';

const work = { task_type: 'work', input_data: null };

/** What a caller is told has been done, and the table it is done in. Each is made ready first. */
const ACTS: Record<string, { table: string; prepare(network: TestNetwork): Promise<() => Promise<unknown>> }> = {
  'a submit': { table: 'tasks', prepare: async (network) => () => network.submit(work) },
  'a batch': {
    table: 'tasks',
    prepare:
      async ({ admin }) =>
      () =>
        admin(createBatch, { body: { tasks: [work, work] } }),
  },
  'a cancel': {
    table: 'tasks',
    async prepare(network) {
      const task_id = await network.submit(work);
      return () => network.cancel(task_id);
    },
  },
  'a schedule': {
    table: 'schedules',
    prepare:
      async ({ admin }) =>
      () =>
        admin(createSchedule, { body: { ...work, cron_expression: '0 3 * * *' } }),
  },
  'a result': {
    table: 'runs',
    async prepare(network) {
      const agent = await network.rawAgent();
      await network.submit(work);
      const run = await agent.take();
      return () => agent.complete(run);
    },
  },
  'results of a poll': {
    table: 'runs',
    async prepare(network) {
      const agent = await network.rawAgent({ slots: 2 });
      for (const _ of [1, 2]) await network.submit(work);
      const { runs } = await agent.poll({ slots: 2 });
      const results = runs.map(({ run_id, fence }) => ({ run_id, fence, outcome: 'COMPLETED' as const }));
      return () => agent.poll({ slots: 0, results });
    },
  },
};

test('I1: what was asked is not acknowledged before its rows are there', async () => {
  const network = await startNetwork();
  for (const [what, { table, prepare }] of Object.entries(ACTS)) {
    const act = await prepare(network);
    const holder = await network.sql.reserve();
    let answered = false;
    try {
      // Nobody writes to the table until this is over.
      await holder`begin`;
      await holder`lock table ${holder(table)} in share mode`;
      const answer = act().then(() => {
        answered = true;
      });
      await eventually(async () => {
        const [{ waiting }] = await holder<[{ waiting: number }]>`
          select count(*)::int as waiting from pg_locks
          where not granted and relation = ${table}::regclass and database = (select oid from pg_database where datname = current_database())`;
        expect(waiting, what).toBeGreaterThan(0);
      });
      expect(answered, what).toBe(false);
      await holder`commit`;
      await answer;
    } finally {
      holder.release();
    }
    expect(answered, what).toBe(true);
  }
});
