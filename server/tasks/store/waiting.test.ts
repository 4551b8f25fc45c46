import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { noteRuns } from '../../dispatch/store/heartbeat.ts';
import { applyResults } from '../../dispatch/store/results.ts';
import type { Notifier } from '../../platform/notify.ts';
import { unblockLoop } from '../loops.ts';
import { unblock } from '../unblock.ts';
import { admitGated, setLimits } from './concurrency.ts';
import { insertTasks } from './submit.ts';
import { expireTasks, retryTask } from './transitions.ts';

const notifier: Notifier = { tell() {}, on() {}, setPeers() {}, async start() {}, async stop() {} };

describe.each([18, 15] as const)('tasks that wait for others, on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  const limit = (key: string, max: number) => setLimits(it.sql, 'admin', new Map([[key, max]]));
  const claim = async (want: number) => {
    const agent = await it.agent({ slots: 100 });
    const standings = await it.claim(it.db.hot, [{ ...agent, want }], [await it.classOf('echo')]);
    return standings.get(agent.agent_id)!.runs.map(({ fence, task_id }) => ({ ...agent, fence, task_id }));
  };
  const end = (runs: Awaited<ReturnType<typeof claim>>, status: string) =>
    applyResults(
      it.db.hot,
      runs.map((run) => ({ ...run, status, fault: null, retryable: false, result_data: null, error: null })),
    );

  /** Does `work` while a transaction holds what `first` locks; what `then` says must need nothing that `work` locked before it had to wait. */
  const inBetween = async (first: string, work: () => Promise<unknown>, then: string) => {
    const { admin } = it.openMore({ adminConnections: 1 });
    await admin`begin`;
    await admin.unsafe(first);
    const working = work();
    await eventually(
      async () =>
        (await it.sql`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
          .length > 0,
    );
    await admin`set local lock_timeout = '300ms'`;
    const free = await admin.unsafe(then).then(
      () => true,
      () => false,
    );
    await admin`rollback`;
    await working;
    expect(free).toBe(true);
  };

  test('who ends a task locks those that wait for it before their dependencies, as who ends those does', async () => {
    const [needed] = await it.submit({});
    const [waits] = await it.submit({ depends_on: [needed!], on_dependency_failure: 'fail' });
    const runs = await claim(1);
    await inBetween(
      `select from blocked where task_id = '${waits}' for update`,
      () => end(runs, 'COMPLETED'),
      `delete from dependencies where task_id = '${waits}'`,
    );
  });

  test('who submits takes the keys of requests before unique keys, whatever the order of the batch', async () => {
    const tasks = [await it.task({ unique_key: 'u' }), await it.task({ idempotency_key: 'i', request_hash: '' })];
    await inBetween(
      `insert into idempotency_keys values ('admin', 'i', '', 'task_x', now())`,
      () => insertTasks(it.db.hot, tasks),
      `insert into unique_keys values ('admin', 'u', 'task_x')`,
    );
  });

  test('who ends tasks of several concurrency keys locks the keys in order', async () => {
    const keys = ['e', 'c', 'a', 'd', 'b'];
    for (const key of keys) await limit(key, 1);
    await it.submit(...keys.map((concurrency_key) => ({ concurrency_key })));
    await admitGated(it.db.loops, 10);
    const runs = await claim(5);
    expect(runs).toHaveLength(5);
    await inBetween(
      `select from concurrency_limits where concurrency_key = 'a' for update`,
      () => end(runs, 'COMPLETED'),
      'select from concurrency_limits for update',
    );
    expect(await it.sql`select from concurrency_limits where held <> 0`).toHaveLength(0);
  });

  test('a key with many waiting does not keep the next from its turn', async () => {
    await limit('a', 1);
    await limit('b', 1);
    await it.submit(...Array.from({ length: 300 }, () => ({ concurrency_key: 'a' })), { concurrency_key: 'b' });
    await admitGated(it.db.loops, 10);
    expect(await it.sql`select 1 from ready`).toHaveLength(2);
  });

  test('keys have their turn however many there are', async () => {
    const keys = Array.from({ length: 1_200 }, (_, n) => `k${n}`);
    await it.sql`insert into concurrency_limits (owner, concurrency_key, max) select 'admin', unnest(${keys}::text[]), 1`;
    await it.submit(...keys.flatMap((concurrency_key) => [{ concurrency_key }, { concurrency_key }]));
    await unblock({ db: it.db, notifier });
    expect(await it.sql`select 1 from ready`).toHaveLength(1_200);
    expect(await it.sql`select 1 from gated`).toHaveLength(1_200);
  });

  test('whoever lets tasks go does not wait until a long chain has ended, and it ends', async () => {
    const chain = await it.submit({});
    for (let n = 1; n < 60; n += 1)
      chain.push(...(await it.submit({ depends_on: [chain.at(-1)!], on_dependency_failure: 'fail' })));
    await end(await claim(1), 'FAILED');
    await limit('a', 1);
    const [keyed] = await it.submit({ concurrency_key: 'a' });
    await unblock({ db: it.db, notifier });
    expect(await it.sql`select 1 from ready where task_id = ${keyed!}`).toHaveLength(1);
    expect((await it.sql`select 1 from blocked`).length).toBeGreaterThan(30);
    await eventually(async () => expect(await it.sql`select 1 from blocked`).toEqual([]));
    expect(await it.status(chain.at(-1)!)).toBe('FAILED');
  });

  test('a task that was started once is not expired for waiting for its key', async () => {
    await limit('a', 1);
    const [id] = await it.submit({
      concurrency_key: 'a',
      expires_at: new Date(Date.now() + 60_000).toISOString(),
      max_retries: 0,
    });
    await admitGated(it.db.loops, 10);
    const runs = await claim(1);
    await noteRuns(it.db.hot, [{ ...runs[0]!, started: true, progress: null }]);
    await end(runs, 'FAILED');
    await retryTask(it.sql, id!);
    await it.clock.advance('2m', { beats: 'missed' });
    await expireTasks(it.db.loops, 10);
    expect(await it.status(id!)).toBe('PENDING');
  });

  test('a task is let go though the coordinator that submitted it died, and none was there for a while', async () => {
    const [needed] = await it.submit({});
    await end(await claim(1), 'COMPLETED');
    const [waits] = await it.submit({ depends_on: [needed!], on_dependency_failure: 'fail' });
    await it.clock.advance('1h', { beats: 'missed' });
    await unblockLoop({ db: it.db, notifier }).tick();
    expect(await it.status(waits!)).toBe('PENDING');
    expect(await it.sql`select 1 from ready`).toHaveLength(1);
  });
});
