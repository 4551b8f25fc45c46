import { readFileSync } from 'node:fs';
import { createDatabase, testPostgres } from '@muster/testing/postgres';
import { scratchFolder } from '@muster/testing/scratch';
import fc from 'fast-check';
import postgres from 'postgres';
import { describe, expect, test } from 'vitest';
import { arrayLiteral, checkServer, DatabaseRefused, migrateDatabase, openDatabase } from './database.ts';
import { startEmbeddedPostgres } from './embedded-postgres/start.ts';
import { packageFile } from './package-file.ts';

const storable = fc
  .string({
    maxLength: 30,
    unit: fc.oneof(
      fc.constantFrom('"', '\\', ',', '{', '}', ' ', 'NULL', '\n', "'"),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    ),
  })
  .filter((it) => !it.includes('\0') && it.isWellFormed());

test('array literals come back from Postgres as they went', async () => {
  const database = await createDatabase(await testPostgres());
  const db = openDatabase(database.url);
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.option(storable), { maxLength: 8 }), async (values) => {
        const [row] = await db.hot.unsafe(
          'select array_to_json($1::text::text[])::text as it',
          [arrayLiteral(values)],
          { prepare: true },
        );
        expect(JSON.parse(row!.it)).toEqual(values);
        const [nested] = await db.hot.unsafe(
          'select array_to_json(($1::text::text[])[1]::text[])::text as it',
          [arrayLiteral([arrayLiteral(values)])],
          { prepare: true },
        );
        expect(JSON.parse(nested!.it)).toEqual(values);
      }),
      { numRuns: 200, seed: 1 },
    );
    const at = new Date('2026-01-02T03:04:05.678Z');
    const [row] = await db.hot.unsafe(
      'select $1::text::timestamptz[] = array[$2::text::timestamptz, null] and $3::text::bigint[] = array[9007199254740991, -1] and $4::text::boolean[] = array[true, false] as it',
      [
        arrayLiteral([at, undefined]),
        at.toISOString(),
        arrayLiteral([Number.MAX_SAFE_INTEGER, -1]),
        arrayLiteral([true, false]),
      ],
    );
    expect(row!.it).toBe(true);
  } finally {
    await db.close();
    await database.drop();
  }
});

test('no statement waits behind one that runs while another connection of its pool is free', async () => {
  const database = await createDatabase(await testPostgres());
  const db = openDatabase(database.url);
  const other = postgres(database.url, { max: 1 });
  try {
    for (const pool of [db.hot, db.admin, db.loops]) {
      const many = () => Promise.all(Array.from({ length: 40 }, () => pool`select 1`));
      await many();
      await other`select pg_advisory_lock(1)`;
      const waiting = Array.from({ length: pool.options.max - 1 }, () => pool`select pg_advisory_xact_lock_shared(1)`);
      const held = Promise.all(waiting);
      await many();
      await other`select pg_advisory_unlock(1)`;
      await held;
    }
  } finally {
    await Promise.all([db.close(), other.end()]);
    await database.drop();
  }
});

test('what waits its turn when the pools are closed is done, or given up where it takes too long, and no connection stays', async () => {
  const database = await createDatabase(await testPostgres());
  const db = openDatabase(database.url);
  const other = postgres(database.url, { max: 1 });
  const outcomes = (pool: typeof db.hot, statement: string) =>
    Promise.allSettled(Array.from({ length: 5 * pool.options.max }, () => pool.unsafe(statement)));
  const connections = async () => [...(await other`select from pg_stat_activity where application_name ~ '^muster'`)];
  try {
    await other`select pg_advisory_lock(1)`;
    const done = outcomes(db.hot, 'select pg_sleep(0.05)');
    const givenUp = outcomes(db.admin, 'select pg_advisory_xact_lock(1)');
    await expect.poll(connections).toHaveLength(db.hot.options.max + db.admin.options.max);
    await db.close();
    expect((await done).filter(({ status }) => status === 'rejected')).toEqual([]);
    expect((await givenUp).filter(({ status }) => status === 'fulfilled')).toEqual([]);
    await other`select pg_advisory_unlock(1)`;
    await expect.poll(connections).toEqual([]);
  } finally {
    await other.end();
    await database.drop();
  }
});

describe('a server', () => {
  test.each(['fsync', 'full_page_writes'])('with %s = off is refused by that name', async (name) => {
    const scratch = scratchFolder('refused');
    const server = await startEmbeddedPostgres({
      dataDir: scratch.path,
      flags: ['-c', `${name}=off`, '-c', 'dynamic_shared_memory_type=mmap'],
    });
    try {
      const refused = checkServer(server.url);
      await expect(refused).rejects.toBeInstanceOf(DatabaseRefused);
      await expect(refused).rejects.toThrow(new RegExp(`${name} = off`));
    } finally {
      await server.stop();
      scratch.remove();
    }
  });

  test.each([18, 15] as const)('of release %i is taken', async (major) => {
    await checkServer(await testPostgres(major));
  });
});

test.each([18, 15] as const)('six coordinators that start at once on Postgres %i migrate once', async (major) => {
  const server = await testPostgres(major);
  const sql = postgres(server, { max: 1, onnotice: () => {} });
  const name = `muster_migrate_${process.pid}_${major}`;
  const url = new URL(server);
  url.pathname = `/${name}`;
  try {
    await sql`create database ${sql(name)}`;
    await Promise.all(Array.from({ length: 6 }, () => migrateDatabase(url.href)));
    const own = postgres(url.href, { max: 1 });
    const applied =
      await own`select count(*)::int as n, count(distinct hash)::int as once from drizzle.__drizzle_migrations`;
    expect(applied[0]!.n).toBe(applied[0]!.once);
    expect(applied[0]!.n).toBeGreaterThan(0);
    expect(await own`select * from task_state`).toEqual([]);
    await own.end();
  } finally {
    await sql`drop database if exists ${sql(name)} with (force)`;
    await sql.end();
  }
});

test.each([18, 15] as const)('runs get their other index beside who reads and writes them on %i', async (major) => {
  const database = await createDatabase(await testPostgres(major));
  const sql = postgres(database.url, { max: 3, onnotice: () => {} });
  const steps = readFileSync(new URL(`${packageFile('drizzle')}/0026_run_order.sql`), 'utf8').split(/-->.*/);
  try {
    await sql.unsafe('create index runs_task_id on runs (task_id); drop index runs_task');
    const { done } = await sql.begin(async (worker) => {
      await worker`select from runs`;
      const done = sql.begin(async (migration) => {
        for (const step of steps) await migration.unsafe(step);
      });
      const waits = () => sql`
        select from pg_locks
        where relation = 'runs'::regclass and not granted and database = (select oid from pg_database where datname = current_database())`;
      await expect.poll(waits).toHaveLength(1);
      await worker`update runs set final = true`;
      return { done };
    });
    await done;
    const names = await sql`select indexname from pg_indexes where tablename = 'runs' and indexname ~ '^runs_task'`;
    expect(names).toEqual([{ indexname: 'runs_task' }]);
  } finally {
    await sql.end();
    await database.drop();
  }
});
