import { openRows, type Rows } from '@muster/testing/rows';
import { scratchFolder } from '@muster/testing/scratch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClock } from '../platform/clock.ts';
import { parseConfig } from '../platform/config.ts';
import { openSigningKeys } from './signing-keys.ts';

let rows: Rows;
const folders = [scratchFolder('keys'), scratchFolder('keys')];
beforeAll(async () => {
  rows = await openRows();
});
afterAll(async () => {
  await rows.close();
  for (const folder of folders) folder.remove();
});

test('a seal of a coordinator that is new is known at once, however lately keys were looked for', async () => {
  const clock = createClock(rows.sql);
  const [one, two] = folders.map(({ path }) => parseConfig({ MUSTER_DATA_DIR: path }));
  const old = (await openSigningKeys(rows.sql, one!, clock)).seal;
  expect(await old.verify(old.kid, 'text', await old.sign('text'))).toBe(true);
  const young = (await openSigningKeys(rows.sql, two!, clock)).seal;
  expect(await old.verify(young.kid, 'text', await young.sign('text'))).toBe(true);
  expect(await old.verify(young.kid, 'text', await old.sign('text'))).toBe(false);
  expect(await old.verify('A'.repeat(43), 'text', await young.sign('text'))).toBe(false);
});
