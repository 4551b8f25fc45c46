import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { houseLoop } from './loops.ts';
import { findWornTables, refreshTables } from './store.ts';

describe.each([18, 15] as const)('keeping house on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
    // Who keeps house beside it, of the server itself, leaves these alone.
    for (const table of ['ready', 'delayed', 'leases'])
      await it.sql.unsafe(`alter table ${table} set (autovacuum_enabled = off)`);
  });
  afterAll(() => it.close());

  const log = { debug() {} } as unknown as Parameters<typeof houseLoop>[0]['log'];
  const tick = () => houseLoop({ db: it.db, log }).tick();
  /** What a session did is counted at once, and not when it has been idle for a while. */
  const counted = async (text: string) => {
    const sql = it.openMore({ adminConnections: 1 }).admin;
    await sql.unsafe(text);
    await sql`select pg_stat_force_next_flush()`;
    await sql`select 1`;
  };
  const countsOf = async (table: string) => {
    const [row] = await it.sql`
      select vacuum_count::int, analyze_count::int, n_dead_tup::int, (select reltuples::int from pg_class where oid = relid) from pg_stat_user_tables where relname = ${table}`;
    return row;
  };
  const fill = (from: number, to: number) =>
    counted(`
    insert into ready (class_id, rank, task_id, replica, attempt, failures)
    select 1, now(), 'task_' || lpad(n::text, 26, '0'), 0, 0, 0 from generate_series(${from}, ${to}) n`);

  test('where little happened nothing is done; a table is analyzed as it grows, and vacuumed as it churns', async () => {
    await fill(1, 900);
    expect(await tick()).toBe(0);
    await fill(901, 2_000);
    expect(await findWornTables(it.sql)).toEqual([{ table: 'ready', vacuum: false }]);
    expect(await tick()).toBe(1);
    expect(await countsOf('ready')).toMatchObject({ vacuum_count: 0, analyze_count: 1, reltuples: 2_000 });
    await fill(2_001, 7_900);
    expect(await tick()).toBe(0);
    await fill(7_901, 25_000);
    await counted('delete from ready');
    expect(await findWornTables(it.sql)).toEqual([{ table: 'ready', vacuum: true }]);
    expect(await tick()).toBe(1);
    expect(await countsOf('ready')).toMatchObject({ vacuum_count: 1, n_dead_tup: 0, reltuples: 0 });
    expect(await tick()).toBe(0);
  });

  test('all that have grown are analyzed in one transaction', async () => {
    await fill(1, 9);
    await counted(`
      insert into delayed (run_at, task_id, replica, class_id, rank, attempt, failures)
      select now(), task_id, 0, class_id, rank, 0, 0 from ready`);
    await refreshTables(
      it.db.session,
      ['ready', 'delayed'].map((table) => ({ table, vacuum: false })),
    );
    const by = await it.sql`
      select relname, count(distinct s.xmin::text)::int as n, min(s.xmin::text) as xmin
      from pg_statistic s join pg_class c on c.oid = starelid where relname in ('ready', 'delayed') group by 1 order by 1`;
    expect(by).toEqual(['delayed', 'ready'].map((relname) => ({ relname, n: 1, xmin: by[0]!.xmin })));
  });

  test('a connection that is lost in the midst of it is no more than a failure, and the next time all is well', async () => {
    const worn = [{ table: 'ready', vacuum: false }];
    const other = await it.openMore({ adminConnections: 1 }).admin.reserve();
    await other`begin`;
    // Where what was found is written down.
    await other`lock table pg_statistic in share mode`;
    const refreshed = refreshTables(it.db.session, worn);
    const end = () => it.sql`
      select pg_terminate_backend(pid) from pg_stat_activity where query like 'analyze%' and wait_event_type = 'Lock' and datname = current_database()`;
    const ended = expect(refreshed).rejects.toThrow();
    await expect.poll(end, { interval: 20 }).toHaveLength(1);
    await ended;
    await other`rollback`;
    other.release();
    const before = await countsOf('ready');
    await refreshTables(it.db.session, worn);
    expect(await countsOf('ready')).toMatchObject({ analyze_count: before!.analyze_count + 1 });
  });

  test('what another is at is left to it', async () => {
    const other = it.openMore({ adminConnections: 1 }).admin;
    const busy = await other.reserve();
    await busy`begin`;
    await busy`lock table leases in share update exclusive mode`;
    const before = await countsOf('leases');
    await refreshTables(it.db.session, [{ table: 'leases', vacuum: true }]);
    await refreshTables(it.db.session, [{ table: 'leases', vacuum: false }]);
    expect(await countsOf('leases')).toEqual(before);
    await busy`rollback`;
    busy.release();
    await refreshTables(it.db.session, [{ table: 'leases', vacuum: true }]);
    expect(await countsOf('leases')).toMatchObject({ vacuum_count: before!.vacuum_count + 1 });
  });
});
