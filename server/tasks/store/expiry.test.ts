import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { applyResults } from '../../dispatch/store/results.ts';
import { expireTasks, promoteTasks } from './transitions.ts';

describe.each([18, 15] as const)('tasks that expire while something else happens to them, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const soon = async () => new Date((await it.clock.now()).getTime() + 5_000).toISOString();
  const expiring = async () => (await it.sql`select 1 from expiring`).length;
  const claim = async () => {
    const agent = await it.agent();
    const standings = await it.claim(it.db.hot, [{ ...agent, want: 1 }], [await it.classOf('echo')]);
    return { agent, runs: standings.get(agent.agent_id)!.runs };
  };

  test('one that is being promoted in that moment expires by a later tick', async () => {
    const at = await soon();
    const [id] = await it.submit({ run_at: at, expires_at: at });
    await it.clock.advance('6s');
    const promoting = it.openMore({ hotConnections: 1 }).hot;
    await promoting`begin`;
    expect(await promoteTasks(promoting, 10)).toHaveLength(1);
    // It waits for the promotion, and finds the task in neither place: `delayed` is empty now, `ready` was when it began.
    const first = expireTasks(it.sql, 10);
    await eventually(
      async () =>
        (await it.sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
          .length > 0,
    );
    await promoting`commit`;
    expect(await first).toBe(0);
    expect([await it.status(id!), await expiring()]).toEqual(['PENDING', 1]);
    expect(await expireTasks(it.sql, 10)).toBe(1);
    expect([await it.status(id!), await expiring()]).toEqual(['EXPIRED', 0]);
    expect(await it.eventsOf(id!)).toEqual(['task.created', 'task.expired']);
    expect((await claim()).runs).toEqual([]);
  });

  test('one that was handed out in time but given back unstarted expires all the same', async () => {
    const [id] = await it.submit({ expires_at: await soon() });
    const { agent, runs } = await claim();
    await applyResults(it.db.hot, [
      {
        ...agent,
        fence: runs[0]!.fence,
        status: 'RETURNED',
        fault: null,
        retryable: true,
        result_data: null,
        error: null,
      },
    ]);
    expect(await it.status(id!)).toBe('PENDING');
    await it.clock.advance('6s');
    expect([await expireTasks(it.sql, 10), await expiring()]).toEqual([1, 0]);
    expect(await it.status(id!)).toBe('EXPIRED');
  });
});
