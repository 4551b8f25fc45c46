import { newId } from '@muster/shared/ids';
import { eventually } from '@muster/testing/eventually';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as store from './api-keys.ts';

let it: Rows;
beforeAll(async () => {
  it = await openRows();
});
afterAll(() => it.close());

test('uses are counted key by key in the order of their ids, so that coordinators do not wait in a circle', async () => {
  const [first, second] = [newId('key'), newId('key')] as const;
  const rest = { name: 'k', owner: 'acme', scopes: [], requests_per_minute: 1, allowed_addresses: null };
  // On the disk the other way round.
  for (const api_key_id of [second, first])
    await store.insertApiKey(it.sql, { ...rest, api_key_id, secret_hash: 'h', expires_at: null }, undefined);
  const { admin } = it.openMore({ adminConnections: 1 });
  await admin`begin`;
  await admin`select from api_keys where api_key_id = ${second} for update`;
  const counted = store.countUses(
    it.sql,
    new Map([
      [second, 2],
      [first, 3],
    ]),
  );
  await eventually(async () => {
    const free = await it.db.admin`select from api_keys where api_key_id = ${first} for update skip locked`;
    expect(free, 'the first is taken before the second is waited for').toHaveLength(0);
  });
  await admin`commit`;
  expect(await counted).toBe(2);
  const uses = async (id: string) => (await store.findApiKey(it.sql, id))?.uses;
  expect([await uses(first), await uses(second)]).toEqual([3, 2]);
});

test('what is written down of a key has its times as on the wire', async () => {
  const api_key_id = newId('key');
  const key = { name: 'k', owner: 'acme', scopes: [], requests_per_minute: 1, allowed_addresses: null };
  const expires_at = '2030-01-01T00:00:00.000Z';
  const by = { actor: 'admin', address: null, request_id: 'req_1' };
  await store.insertApiKey(it.sql, { ...key, api_key_id, secret_hash: 'h', expires_at }, by);
  const seen = (await store.findApiKey(it.sql, api_key_id))!;
  expect(await store.revokeApiKey(it.sql, seen, by)).toBe(true);
  const revoked_at = (await store.findApiKey(it.sql, api_key_id))!.revoked_at!.toISOString();
  const logs = await it.sql`select before, after from audit_logs where subject_id = ${api_key_id} order by audit_id`;
  expect(logs).toMatchObject([
    { before: null, after: { expires_at, revoked_at: null } },
    { before: { expires_at, revoked_at: null }, after: { expires_at, revoked_at } },
  ]);
});
