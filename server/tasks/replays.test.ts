import type * as contract from '@muster/shared/contract/batches';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { newTask } from '@muster/shared/contract/tasks';
import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Ctx } from '../platform/ctx.ts';
import type { Sql } from '../platform/database.ts';
import type { Notifier } from '../platform/notify.ts';
import { createBatch } from './batch.ts';
import type { Classes } from './classes.ts';
import { createTask } from './create.ts';
import { createSubmitter } from './submit.ts';

const notifier = { tell() {} } as unknown as Notifier;
const principal = { kind: 'key', api_key_id: 'key_it', owner: 'admin', scopes: ['admin'] };

/** At whatever moment the same request comes a second time, that is after any look at keys of the first. */
describe('a request with a unique key that is sent twice', () => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows();
  });
  afterEach(() => it.finish());
  afterAll(() => it.close());

  /** Sends the request, and `meanwhile` after its `nth` look at keys; how many looks there were. */
  const world = () => {
    const classes = { idOf: () => it.classOf('work'), find: () => undefined } as unknown as Classes;
    const submitter = createSubmitter({ db: it.db, notifier }, classes, (ids) => ids.map(() => undefined));
    return {
      submitter,
      ctxOf: (admin: Sql) => ({ db: { ...it.db, admin }, notifier, principal, requestId: 'req_it' }) as unknown as Ctx,
    };
  };
  const interrupted = (nth: number, meanwhile: () => Promise<unknown>): { sql: Sql; looks: () => number } => {
    let looks = 0;
    const sql = new Proxy(it.sql, {
      apply(target, self, args) {
        const query = Reflect.apply(target as (...args: unknown[]) => unknown, self, args) as PromiseLike<unknown>;
        if (!/^\s*select [\s\S]* from (idempotency_keys|unique_keys) /.test(String((args[0] as string[])[0])))
          return query;
        looks += 1;
        if (looks !== nth) return query;
        return Promise.resolve(query).then(async (rows) => {
          await meanwhile();
          return rows;
        });
      },
    });
    return { sql: sql as Sql, looks: () => looks };
  };

  test.each([
    ['task', 'replace'],
    ['batch', 'replace'],
    ['batch', 'reject'],
  ] as const)('a %s that is to %s is made once and stays', async (what, unique_policy) => {
    const { submitter, ctxOf } = world();
    const send = async (admin: Sql, key: string, unique_key: string): Promise<string> => {
      const ctx = { ...ctxOf(admin), idempotencyKey: key };
      const body = newTask.parse({ task_type: 'work', input_data: null, unique_key, unique_policy });
      if (what === 'task') return (await createTask(ctx, submitter, { body })).task_id;
      const batch = { tasks: [body], atomic: true } as unknown as InputOf<typeof contract.createBatch>['body'];
      return (await createBatch(ctx, submitter, { body: batch })).results[0]!.task_id!;
    };
    let interruptions = 0;
    for (let nth = 1; ; nth += 1) {
      if (unique_policy === 'replace') await send(it.sql, `earlier-${nth}`, `u${nth}`);
      let other: string | undefined;
      const { sql, looks } = interrupted(nth, async () => {
        other = await send(it.sql, `k${nth}`, `u${nth}`);
      });
      const mine = await send(sql, `k${nth}`, `u${nth}`);
      if (looks() < nth) break;
      interruptions += 1;
      expect(mine, `interrupted after look ${nth}`).toBe(other);
      expect(await it.status(mine), `interrupted after look ${nth}`).toBe('PENDING');
    }
    expect(interruptions).toBeGreaterThan(1);
  });
});
