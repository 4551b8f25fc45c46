import { and, desc, eq, lt } from 'drizzle-orm';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { type Actor, auditedTime, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';
import { enrollment_tokens } from '../../schema/agents.ts';

export type EnrollmentTokenRow = typeof enrollment_tokens.$inferSelect;

export interface NewEnrollmentToken
  extends Omit<EnrollmentTokenRow, 'uses' | 'expires_at' | 'revoked_at' | 'created_at'> {
  ttl_seconds: number;
}

export async function insertEnrollmentToken(
  sql: Sql,
  { ttl_seconds, ...token }: NewEnrollmentToken,
  by?: Actor,
): Promise<{ enrollment_token_id: string; expires_at: Date }> {
  const [row] = await transition<{ enrollment_token_id: string; expires_at: Date }>(sql, {
    change: sql`
      insert into enrollment_tokens (enrollment_token_id, owner, serves, capabilities, name_pattern, max_slots, key_thumbprint, max_uses, expires_at, created_at)
      select ${token.enrollment_token_id}, ${token.owner}, ${token.serves}, ${token.capabilities}::text[], ${token.name_pattern}, ${token.max_slots}::int,
        ${token.key_thumbprint}, ${token.max_uses}, now + make_interval(secs => ${ttl_seconds}), now from clock
      returning enrollment_token_id, expires_at, enrollment_token_id as subject_id, owner, null::jsonb as detail, null::jsonb as before,
        jsonb_build_object('serves', serves, 'capabilities', capabilities, 'name_pattern', name_pattern, 'max_slots', max_slots,
          'key_thumbprint', key_thumbprint, 'max_uses', max_uses, 'expires_at', ${auditedTime(sql, 'expires_at')}) as after`,
    event: recordEvent(sql, 'enrollment_token.created'),
    audit: recordAudit(sql, by, 'enrollment_token.create'),
    answer: sql`select enrollment_token_id, expires_at from changed`,
  });
  return row!;
}

/** Revokes a token; revoking it again changes nothing. */
export async function revokeEnrollmentToken(sql: Sql, id: string, by?: Actor): Promise<void> {
  await transition(sql, {
    change: sql`
      update enrollment_tokens set revoked_at = (select now from clock) where enrollment_token_id = ${id} and revoked_at is null
      returning enrollment_token_id as subject_id, owner, null::jsonb as detail, jsonb_build_object('revoked_at', null) as before,
        jsonb_build_object('revoked_at', ${auditedTime(sql, 'revoked_at')}) as after`,
    event: recordEvent(sql, 'enrollment_token.revoked'),
    audit: recordAudit(sql, by, 'enrollment_token.revoke'),
  });
}

export async function findEnrollmentToken(
  orm: PostgresJsDatabase,
  id: string,
): Promise<EnrollmentTokenRow | undefined> {
  const [row] = await orm.select().from(enrollment_tokens).where(eq(enrollment_tokens.enrollment_token_id, id));
  return row;
}

/** Whose an enrolment token is. */
export async function ownerOfEnrollmentToken(sql: Sql, id: string): Promise<string | undefined> {
  const [row] = await sql<{ owner: string }[]>`select owner from enrollment_tokens where enrollment_token_id = ${id}`;
  return row?.owner;
}

export function listEnrollmentTokens(
  orm: PostgresJsDatabase,
  { owner, after, limit }: { owner: string | undefined; after: string | undefined; limit: number },
): Promise<EnrollmentTokenRow[]> {
  const { enrollment_token_id } = enrollment_tokens;
  return orm
    .select()
    .from(enrollment_tokens)
    .where(
      and(
        owner === undefined ? undefined : eq(enrollment_tokens.owner, owner),
        after === undefined ? undefined : lt(enrollment_token_id, after),
      ),
    )
    .orderBy(desc(enrollment_token_id))
    .limit(limit);
}

/** Forgets tokens that have been over for so long that nobody asks any more. */
export async function pruneEnrollmentTokens(sql: Sql, days: number): Promise<number> {
  const pruned = await sql`
    delete from enrollment_tokens where least(revoked_at, expires_at) < (select muster_now()) - make_interval(days => ${days})`;
  return pruned.count;
}

/** A token as an admin sees it: everything but the token. */
export const showEnrollmentToken = (row: EnrollmentTokenRow) => ({
  enrollment_token_id: row.enrollment_token_id,
  capabilities: row.capabilities,
  name_pattern: row.name_pattern,
  max_slots: row.max_slots,
  key_thumbprint: row.key_thumbprint,
  max_uses: row.max_uses,
  uses: row.uses,
  owner: row.owner,
  serves: row.serves as 'all' | 'owner',
  expires_at: row.expires_at.toISOString(),
  revoked_at: row.revoked_at?.toISOString() ?? null,
  created_at: row.created_at.toISOString(),
});
