import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ensureReader, pruneEvents, readEvents } from './store.ts';

describe.each([18, 15] as const)('reading the outbox on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
    await it.sql`create table read_here (reader text, event_id bigint)`;
  });
  afterEach(async () => {
    await it.finish();
    await it.sql`delete from read_here`;
  });
  afterAll(() => it.close());

  const read = (reader: string, { sql = it.sql, limit = 50, kinds = ['told'] } = {}) =>
    readEvents(sql, {
      reader,
      kinds,
      limit,
      apply: sql`insert into read_here select ${reader}, event_id from batch returning event_id`,
    });
  /** Tells something; the id is drawn a while before the commit, so that they appear out of order. */
  const tell = (sql = it.sql, kind = 'told') => sql`
    with e as (insert into events (tx, at, kind, subject_ids) values (pg_current_xact_id(), muster_now(), ${kind}, array['it']) returning event_id)
    select event_id, pg_sleep(random() * 0.004) from e`;
  /** Resolves when no transaction is open that is older than what was told, in any database of this Postgres. */
  const settled = () =>
    eventually(async () => {
      const [row] = await it.sql`
        select not exists (select from events where tx >= pg_snapshot_xmin(pg_current_snapshot())) as settled`;
      return row!.settled;
    });
  const readBy = async (reader: string) =>
    (await it.sql`select event_id::int as id from read_here where reader = ${reader} order by 1`).map(
      (row) => row.id as number,
    );

  test('eight writers and two readers of one name: none is lost, none comes twice', async () => {
    await ensureReader(it.sql, 'one');
    await ensureReader(it.sql, 'one');
    const [writing, other] = [it.openMore({ adminConnections: 8 }), it.openMore()];
    const told: number[] = [];
    let left = 8;
    let early = 0;
    // A transaction of any database of this Postgres holds back what may be read: they write until something was.
    const writer = async () => {
      for (let n = 0; n < 60 || early === 0; n += 1) told.push(Number((await tell(writing.admin))[0]!.event_id));
      left -= 1;
    };
    const reader = async (sql: typeof it.sql) => {
      while (left > 0) early += await read('one', { sql });
    };
    await Promise.all([...Array.from({ length: 8 }, writer), reader(it.sql), reader(other.admin)]);
    await eventually(async () => {
      await Promise.all([read('one'), read('one', { sql: other.admin })]);
      return (await readBy('one')).length >= told.length;
    });
    expect(await readBy('one')).toEqual(told.sort((a, b) => a - b));
  });

  test('what is not yet committed is not passed by', async () => {
    await ensureReader(it.sql, 'one');
    const { hot } = it.openMore({ hotConnections: 1 });
    await hot`begin`;
    const [early] = await tell(hot);
    const [late] = await tell();
    expect(await read('one')).toBe(0);
    await hot`commit`;
    await eventually(async () => (await read('one')) === 0 && (await readBy('one')).length === 2);
    expect(await readBy('one')).toEqual([early, late].map((row) => Number(row!.event_id)));
  });

  test('a reader starts with what happens from now on, goes by its own cursor, and passes by kinds it does not want', async () => {
    await tell();
    await settled();
    await ensureReader(it.sql, 'one');
    await tell(it.sql, 'other');
    const [mine] = await tell();
    await eventually(async () => {
      await read('one');
      return (await readBy('one')).length === 1;
    });
    expect(await readBy('one')).toEqual([Number(mine!.event_id)]);
    expect(await read('nobody')).toBe(0);
    expect(await readBy('nobody')).toEqual([]);
  });

  test('the cursor stays where it was when the effect fails', async () => {
    await ensureReader(it.sql, 'one');
    await tell();
    await eventually(async () => {
      const broken = readEvents(it.sql, {
        reader: 'one',
        kinds: ['told'],
        apply: it.sql`insert into read_here select 'one', 1 / 0 from batch returning 1`,
      });
      return broken.then(
        () => false,
        (error) => error.code === '22012',
      );
    });
    await eventually(async () => {
      await read('one');
      return (await readBy('one')).length === 1;
    });
  });

  test('old events are forgotten once every reader has seen them', async () => {
    await Promise.all(['one', 'two'].map((reader) => ensureReader(it.sql, reader)));
    await tell();
    await it.clock.advance('8d');
    await tell();
    const seen = (reader: string, count: number) =>
      eventually(async () => {
        await read(reader);
        return (await readBy(reader)).length === count;
      });
    await seen('one', 2);
    expect(await pruneEvents(it.sql, 10)).toBe(0);
    await seen('two', 2);
    expect(await pruneEvents(it.sql, 10)).toBe(1);
    expect(await pruneEvents(it.sql, 10)).toBe(0);
  });
});
