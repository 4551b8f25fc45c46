import { createBatch } from '@muster/shared/contract/batches';
import { cleanupRuns, listRuns } from '@muster/shared/contract/runs';
import { listTasks } from '@muster/shared/contract/tasks';
import { expect, test } from 'vitest';
import { startNetwork } from '../fixtures/network.ts';
import { SCALE, TIMEOUT_MS } from './cluster.ts';

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
      const seen: string[] = [];
      for (let cursor: string | null | undefined; cursor !== null; ) {
        const page = await pages[what](cursor ? { cursor } : {});
        seen.push(...page.data.map(({ task_id }) => task_id));
        cursor = page.next_cursor;
        if (seen.length > ROWS / 4) await change();
      }
      return seen;
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
    for (const [what, seen] of Object.entries({ tasks, runs })) {
      expect(new Set(seen).size, what).toBe(seen.length);
      const there = new Set(seen);
      expect(
        lasting[what as keyof typeof lasting].filter((id) => !there.has(id)),
        what,
      ).toEqual([]);
      expect(lasting[what as keyof typeof lasting], what).toHaveLength(ROWS / 2);
    }
  },
  TIMEOUT_MS,
);
