import { type AddressInfo, connect, createServer } from 'node:net';
import { eventually } from '@muster/testing/eventually';
import { createDatabase, testPostgres } from '@muster/testing/postgres';
import { startProxy } from '@muster/testing/proxy';
import { expect, onTestFinished, test } from 'vitest';
import { type Database, openDatabase } from './database.ts';

/** What becomes of a statement in each pool. */
const outcomesIn = async (db: Database) => {
  const all = await Promise.allSettled([db.hot, db.admin, db.loops].map((sql) => sql`select 1`));
  return [...new Set(all.map(({ status }) => status))];
};

test('a database that refused connections for a while is used again by every pool', async () => {
  const database = await createDatabase(await testPostgres());
  onTestFinished(() => database.drop());
  const proxy = await startProxy(database.url);
  onTestFinished(() => proxy.stop());
  const db = openDatabase(proxy.url);
  onTestFinished(() => db.close());
  const outcomes = () => outcomesIn(db);
  expect(await outcomes()).toEqual(['fulfilled']);
  await proxy.refuse();
  // More often than the smallest pool has connections, one after the other: each of them is refused.
  for (let n = 0; n < 3; n += 1) expect(await outcomes()).toEqual(['rejected']);
  await proxy.restore();
  await eventually(async () => expect(await outcomes()).toEqual(['fulfilled']));
  for (let n = 0; n < 10; n += 1) expect(await outcomes()).toEqual(['fulfilled']);
});

test('no connection looks at the catalogue once one has: of a look that fails nobody hears', async () => {
  const database = await createDatabase(await testPostgres());
  onTestFinished(() => database.drop());
  const [url, way] = [new URL(database.url), new URL(database.url)];
  let breaks = false;
  // A way to Postgres that is cut off by who looks.
  const server = createServer((near) => {
    const far = connect(Number(url.port), url.hostname);
    for (const it of [near, far])
      it.on('error', () => {}).on('close', () => [near, far].forEach((it) => void it.destroy()));
    near.on('data', (said) => (breaks && said.includes('pg_catalog.pg_type') ? far.destroy() : far.write(said)));
    far.pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  way.port = String((server.address() as AddressInfo).port);
  const db = openDatabase(way.href);
  onTestFinished(() => db.close());
  expect(await outcomesIn(db)).toEqual(['fulfilled']);
  breaks = true;
  const others = () => db.hot`
    select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
  await others();
  await eventually(async () => expect(await outcomesIn(db)).toEqual(['fulfilled']));
  expect(await db.admin`select array['a', 'b c']::text[] as texts, array[1, 2]::int[] as numbers`).toEqual([
    { texts: ['a', 'b c'], numbers: [1, 2] },
  ]);
});
