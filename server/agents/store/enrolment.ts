import type { AgentMode } from '@muster/shared/lifecycle';
import type { JWK } from 'jose';
import type { Sql } from '../../platform/database.ts';
import type { Limits } from '../limits.ts';

/** An agent that is known, by which key, and what it was enrolled for: nothing it says of itself goes beyond. */
export interface Enrolment extends Limits {
  agent_id: string;
  mode: AgentMode;
  boot_id: string;
  public_jwk: JWK;
  jkt: string;
}

/** An enrolment token as a registration needs it. */
export interface Invitation extends Limits {
  enrollment_token_id: string;
  key_thumbprint: string | null;
}

const known = `a.agent_id, a.mode, a.boot_id, a.public_jwk, a.jkt,
  a.enrolled_capabilities as capabilities, a.enrolled_name_pattern as name_pattern, a.enrolled_slots as max_slots`;

export async function findEnrolment(sql: Sql, agentId: string): Promise<Enrolment | undefined> {
  const [row] = await sql<Enrolment[]>`select ${sql.unsafe(known)} from agents a where a.agent_id = ${agentId}`;
  return row;
}

/** The agent that has a key. */
export async function findEnrolmentByKey(sql: Sql, jkt: string): Promise<Enrolment | undefined> {
  const [row] = await sql<Enrolment[]>`select ${sql.unsafe(known)} from agents a where a.jkt = ${jkt}`;
  return row;
}

/** An enrolment token that was not revoked, and with it the agent that has the key already. */
export async function findInvitation(
  sql: Sql,
  enrollmentTokenId: string,
  jkt: string,
): Promise<{ invitation: Invitation; agent: Enrolment | undefined } | undefined> {
  const [row] = await sql<{ invitation: Invitation; agent: Enrolment | null }[]>`
    select to_jsonb(t) as invitation, (select to_jsonb(it) from (select ${sql.unsafe(known)} from agents a where a.jkt = ${jkt}) it) as agent
    from (select enrollment_token_id, capabilities, name_pattern, max_slots, key_thumbprint from enrollment_tokens
      where enrollment_token_id = ${enrollmentTokenId} and revoked_at is null) t`;
  return row && { invitation: row.invitation, agent: row.agent ?? undefined };
}
