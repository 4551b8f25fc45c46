import { eventually } from '@muster/testing/eventually';
import { createDatabase, testPostgres } from '@muster/testing/postgres';
import { startProxy } from '@muster/testing/proxy';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from './database.ts';

test('a database that refused connections for a while is used again by every pool', async () => {
  const database = await createDatabase(await testPostgres());
  onTestFinished(() => database.drop());
  const proxy = await startProxy(database.url);
  onTestFinished(() => proxy.stop());
  const db = openDatabase(proxy.url);
  onTestFinished(() => db.close());
  const ask = () => Promise.allSettled([db.hot, db.admin, db.loops].map((sql) => sql`select 1`));
  const outcomes = async () => [...new Set((await ask()).map(({ status }) => status))];
  expect(await outcomes()).toEqual(['fulfilled']);
  await proxy.refuse();
  // More often than the smallest pool has connections, one after the other: each of them is refused.
  for (let n = 0; n < 3; n += 1) expect(await outcomes()).toEqual(['rejected']);
  await proxy.restore();
  await eventually(async () => expect(await outcomes()).toEqual(['fulfilled']));
  for (let n = 0; n < 10; n += 1) expect(await outcomes()).toEqual(['fulfilled']);
});
