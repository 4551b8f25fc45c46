import { createBatch } from '@muster/shared/contract/batches';
import { cleanupRuns, listRuns } from '@muster/shared/contract/runs';
import { listTasks } from '@muster/shared/contract/tasks';
import { History } from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { checkPages } from '@muster/testing/checkers/answers';
import { expect, test } from 'vitest';
import { startNetwork } from '../fixtures/network.ts';
import { SCALE, TIMEOUT_MS } from '../proof/scale.ts';

/** A fiftieth of what is promised, unless said: half of them stay, and half are deleted while they are read. */
const ROWS = 2_000 * SCALE;
const PART = 500;
const work = { task_type: 'work', input_data: null };

test(
  `I23: ${ROWS} rows are read page by page, each that is there all the time once, while others come and go`,
  async () => {
    const network = await startNetwork();
    const submit = (n: number, capability_required: string) =>
      network.admin(createBatch, {
        body: { tasks: Array.from({ length: n }, () => ({ ...work, capability_required })) },
      });
    const agent = await network.rawAgent({ slots: PART });
    const workOff = async (n: number) => {
      for (let done = 0; done < n; ) {
        await submit(PART, 'work');
        const { runs } = await agent.poll({ slots: PART });
        const results = runs.map(({ run_id, fence }) => ({ run_id, fence, outcome: 'COMPLETED' as const }));
        await agent.poll({ slots: 0, results });
        done += runs.length;
      }
    };
    await workOff(ROWS / 2);
    await network.clock.advance('49h');
    await agent.assert();
    await workOff(ROWS / 2);
    const ids = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);
    const lasting = {
      tasks: ids(
        await network.sql`select task_id as id from tasks where created_at > (select muster_now()) - interval '1 day'`,
      ),
      runs: ids(
        await network.sql`select task_id as id from runs where finished_at > (select muster_now()) - interval '1 day'`,
      ),
    };
    const pages = {
      tasks: (query: object) => network.admin(listTasks, { query: { ...query, limit: 37 } }),
      runs: (query: object) => network.admin(listRuns, { query: { ...query, limit: 41 } }),
    };
    const read = async (what: keyof typeof pages) => {
      const history = new History();
      let seen = 0;
      for (let cursor: string | null | undefined; cursor !== null; ) {
        const query = cursor ? { cursor } : {};
        const page = await history.call('reader', 'page', query, async () => {
          const { data, next_cursor } = await pages[what](query);
          return { ids: data.map(({ task_id }) => task_id), next_cursor };
        });
        seen += page.ids.length;
        cursor = page.next_cursor;
        if (seen > ROWS / 4) await change();
      }
      return history.entries;
    };
    let deleted: Promise<{ tasks: number }> | undefined;
    let came = 0;
    /** Begun in the midst of it, and more comes with every page. */
    const change = () => {
      deleted ??= network.admin(cleanupRuns, { body: { older_than_days: 1 } });
      came += 1;
      return network.submit({ ...work, capability_required: 'nobody' });
    };
    const [tasks, runs] = await Promise.all([read('tasks'), read('runs')]);
    expect(await deleted).toMatchObject({ tasks: ROWS / 2 });
    expect(came).toBeGreaterThan(10);
    const found = Object.entries({ tasks, runs }).map(([what, entries]) =>
      checkPages(entries, new Set(lasting[what as keyof typeof lasting])),
    );
    assertFindings(found, { minimum: ROWS / 2 });
    expect(Object.values(lasting).map(({ length }) => length)).toEqual([ROWS / 2, ROWS / 2]);
  },
  TIMEOUT_MS,
);
