import { migrateDatabase } from '@muster/server/platform/database';
import { ENDPOINTS } from '@muster/shared/contract/index';
import postgres from 'postgres';
import { expect, test } from 'vitest';
import { testClock, tickWithClock } from './clock.ts';
import { createDatabase, type PostgresMajor, testPostgres } from './postgres.ts';

async function withDatabase(work: (sql: postgres.Sql, url: string) => Promise<void>, major?: PostgresMajor) {
  const database = await createDatabase(await testPostgres(major));
  const sql = postgres(database.url, { max: 2, onnotice: () => {} });
  try {
    await work(sql, database.url);
  } finally {
    await sql.end({ timeout: 1 });
    await database.drop();
  }
}

/** An agent as its beats see it; with nothing else in the database. */
const addPresence = (sql: postgres.Sql, agentId: string, leaseSeconds: number) => sql`
  insert into presence (agent_id, last_seen_at, lease_expires_at)
  values (${agentId}, muster_now(), muster_now() + ${leaseSeconds}::float8 * interval '1 s')`;

test('databases made at once are migrated, and strangers to each other', async () => {
  const made = await Promise.all(Array.from({ length: 4 }, () => createDatabase()));
  expect(new Set(made.map(({ url }) => url)).size).toBe(4);
  await Promise.all(made.map(({ drop }) => drop()));
  await expect(postgres(made[0]!.url, { max: 1 })`select 1`).rejects.toThrow(/does not exist/);
  await withDatabase(async (sql) => {
    expect(await sql`select * from tasks`).toEqual([]);
  });
});

test('the oldest release the product runs on has them too', () =>
  withDatabase(async (sql) => {
    expect((await sql`show server_version`)[0]!.server_version).toMatch(/^15\./);
    expect(await sql`select * from tasks`).toEqual([]);
  }, 15));

test('a database that the kit did not make has no clock to move, and no endpoint moves one', async () => {
  const server = new URL(await testPostgres());
  const admin = postgres(server.href, { max: 1 });
  const name = `muster_as_served_${process.pid}`;
  await admin`create database ${admin(name)}`;
  try {
    server.pathname = `/${name}`;
    await migrateDatabase(server.href);
    const sql = postgres(server.href, { max: 1 });
    const [clock] = await sql`
      select trim(prosrc) as body, to_regclass('muster_clock') is null as fixed from pg_proc where proname = 'muster_now'`;
    await sql.end();
    expect(clock).toEqual({ body: `select date_trunc('milliseconds', statement_timestamp())`, fixed: true });
  } finally {
    await admin`drop database ${admin(name)} with (force)`;
    await admin.end();
  }
  expect(Object.values(ENDPOINTS).filter(({ path }) => /clock|time/.test(path))).toEqual([]);
});

test('the clock goes with the wall, and ahead of it as far as it was moved', () =>
  withDatabase(async (sql, url) => {
    const clock = testClock(sql, url);
    expect(Math.abs((await clock.now()).getTime() - Date.now())).toBeLessThan(2_000);
    await clock.advance('3d');
    await clock.advance(500);
    expect(Math.abs((await clock.now()).getTime() - Date.now() - 3 * 86_400_000 - 500)).toBeLessThan(2_000);
    await expect(clock.advance(-1)).rejects.toThrow(/backwards/);
  }));

test('beats kept: leases that live go along, a lease that ended stays ended', () =>
  withDatabase(async (sql, url) => {
    await addPresence(sql, 'agent_live', 30);
    await addPresence(sql, 'agent_gone', -1);
    await testClock(sql, url).advance('1h');
    const live = await sql`select agent_id, lease_expires_at > muster_now() as live from presence order by 1`;
    expect(live).toEqual([
      { agent_id: 'agent_gone', live: false },
      { agent_id: 'agent_live', live: true },
    ]);
  }));

test('beats missed: the leases end, and the coordinators still count as beating', () =>
  withDatabase(async (sql, url) => {
    await addPresence(sql, 'agent_live', 30);
    await sql`insert into cluster (beat_at, steady_since) values (muster_now(), muster_now() - interval '1 min')
      on conflict (one) do update set beat_at = excluded.beat_at, steady_since = excluded.steady_since`;
    await testClock(sql, url).advance('31s', { beats: 'missed' });
    const [it] = await sql`
      select (select lease_expires_at < muster_now() from presence) as ended, muster_now() - beat_at < '2 s' as beating,
        muster_now() - steady_since < '65 s' as steady from cluster`;
    expect(it).toEqual({ ended: true, beating: true, steady: true });
  }));

test('moving the clock ticks each coordinator of that database, and no other', () =>
  withDatabase(async (sql, url) => {
    const ticked: string[] = [];
    const forget = [
      tickWithClock(url, async () => void ticked.push('one')),
      tickWithClock(url, async () => void ticked.push('two')),
      tickWithClock(`${url}_other`, async () => void ticked.push('other')),
    ];
    await testClock(sql, url).advance('1s');
    expect(ticked.sort()).toEqual(['one', 'two']);
    for (const stop of forget) stop();
    await testClock(sql, url).advance('1s');
    expect(ticked).toHaveLength(2);
  }));
