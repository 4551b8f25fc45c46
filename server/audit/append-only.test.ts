import { openRows, type Rows } from '@muster/testing/rows';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

describe.each([18, 15] as const)('what was audited stays as it was on Postgres %i', (major) => {
  let it: Rows;
  beforeAll(async () => {
    it = await openRows(major);
    await it.sql`
      insert into audit_logs (tx, at, action, actor, request_id, owner, subject_id)
      values (pg_current_xact_id(), (select muster_now()), 'task.cancel', 'admin', 'req_1', 'admin', 'task_1')`;
    await it.sql`
      insert into audit_seals (seal, tx, audit_id, count, previous_hash, hash, kid, signature, sealed_at)
      select 1, tx, audit_id, 1, '', '', '', '', at from audit_logs`;
  });
  afterAll(() => it.close());
  const rowsOf = (table: string) => it.sql`select * from ${it.sql(table)}`;

  describe.each([
    ['audit_logs', `actor = 'nobody'`],
    ['audit_seals', `hash = 'other'`],
  ])('%s', (table, change) => {
    // Tests connect as the superuser, who owns the tables.
    test.each(['origin', 'replica', 'local'])('by its owner, in the replication role %s', async (role) => {
      const { admin } = it.openMore({ adminConnections: 1 });
      const before = await rowsOf(table);
      await admin.unsafe(`set session_replication_role = ${role}`);
      for (const statement of [
        `update ${table} set ${change}`,
        `delete from ${table}`,
        `truncate ${table}`,
        `truncate ${table} cascade`,
      ]) {
        const verb = statement.split(' ')[0];
        await expect(admin.unsafe(statement), statement).rejects.toMatchObject({
          code: '42501',
          message: `${verb} of ${table} is not allowed: the audit log is append-only`,
        });
      }
      expect(before).toHaveLength(1);
      expect(await rowsOf(table)).toEqual(before);
    });
  });

  test('once a year is over rows may go, and still not be changed', async () => {
    await it.clock.advance('364d');
    await expect(it.sql`delete from audit_logs`).rejects.toMatchObject({ code: '42501' });
    await it.clock.advance('2d');
    for (const table of ['audit_logs', 'audit_seals']) {
      await expect(it.sql`truncate ${it.sql(table)}`).rejects.toMatchObject({ code: '42501' });
      expect((await it.sql`delete from ${it.sql(table)}`).count).toBe(1);
    }
  });
});
