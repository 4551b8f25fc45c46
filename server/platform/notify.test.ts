import { openRows } from '@muster/testing/rows';
import { expect, test } from 'vitest';
import { createLog } from './log.ts';
import { createNotifier } from './notify.ts';

test('what one coordinator tells the other hears at once, also while loops take long', async () => {
  const it = await openRows();
  const [one, other] = [it.openMore(), it.openMore()];
  const [teller, hearer] = [one, other].map((db, n) => createNotifier(db, `coord_${n}`, createLog('silent')));
  const heard: number[] = [];
  hearer!.on('ready', (classIds) => heard.push(...classIds));
  await hearer!.start();
  const busy = [1, 2].map(() => one.loops`select pg_sleep(9)`.catch(() => {}));
  teller!.tell('ready', [7]);
  await expect.poll(() => heard, { timeout: 5_000 }).toEqual([7]);
  await it.sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query = 'select pg_sleep(9)'`;
  await Promise.all(busy);
  await hearer!.stop();
  await it.close();
});
