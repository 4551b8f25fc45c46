import { desc, eq, lt } from 'drizzle-orm';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { enrollment_tokens } from '../../schema/agents.ts';

export type EnrollmentTokenRow = typeof enrollment_tokens.$inferSelect;

export interface NewEnrollmentToken
  extends Pick<
    EnrollmentTokenRow,
    'enrollment_token_id' | 'owner' | 'serves' | 'capabilities' | 'max_slots' | 'max_uses'
  > {
  ttl_seconds: number;
}

export async function insertEnrollmentToken(
  sql: Sql,
  token: NewEnrollmentToken,
): Promise<{ enrollment_token_id: string; expires_at: Date }> {
  const [row] = await transition<{ enrollment_token_id: string; expires_at: Date }>(sql, {
    change: sql`
      insert into enrollment_tokens (enrollment_token_id, owner, serves, capabilities, max_slots, max_uses, expires_at, created_at)
      select ${token.enrollment_token_id}, ${token.owner}, ${token.serves}, ${token.capabilities}::text[], ${token.max_slots}::int, ${token.max_uses},
        now + make_interval(secs => ${token.ttl_seconds}), now from clock
      returning enrollment_token_id, expires_at, enrollment_token_id as subject_id, null::jsonb as detail`,
    event: recordEvent(sql, 'enrollment_token.created'),
    answer: sql`select enrollment_token_id, expires_at from changed`,
  });
  return row!;
}

/** Revokes a token; revoking it again changes nothing. */
export async function revokeEnrollmentToken(sql: Sql, id: string): Promise<void> {
  await transition(sql, {
    change: sql`
      update enrollment_tokens set revoked_at = (select now from clock) where enrollment_token_id = ${id} and revoked_at is null
      returning enrollment_token_id as subject_id, null::jsonb as detail`,
    event: recordEvent(sql, 'enrollment_token.revoked'),
  });
}

export async function findEnrollmentToken(
  orm: PostgresJsDatabase,
  id: string,
): Promise<EnrollmentTokenRow | undefined> {
  const [row] = await orm.select().from(enrollment_tokens).where(eq(enrollment_tokens.enrollment_token_id, id));
  return row;
}

export function listEnrollmentTokens(
  orm: PostgresJsDatabase,
  { after, limit }: { after: string | undefined; limit: number },
): Promise<EnrollmentTokenRow[]> {
  return orm
    .select()
    .from(enrollment_tokens)
    .where(after ? lt(enrollment_tokens.enrollment_token_id, after) : undefined)
    .orderBy(desc(enrollment_tokens.enrollment_token_id))
    .limit(limit);
}

/** A token as an admin sees it: everything but the token. */
export const showEnrollmentToken = (row: EnrollmentTokenRow) => ({
  enrollment_token_id: row.enrollment_token_id,
  capabilities: row.capabilities,
  max_slots: row.max_slots,
  max_uses: row.max_uses,
  uses: row.uses,
  owner: row.owner,
  serves: row.serves as 'all' | 'owner',
  expires_at: row.expires_at.toISOString(),
  revoked_at: row.revoked_at?.toISOString() ?? null,
  created_at: row.created_at.toISOString(),
});
