import type { AgentMode } from '@muster/shared/lifecycle';
import { AGENT_MODE, statesAllowing } from '@muster/shared/lifecycle';
import type { JWK } from 'jose';
import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';

export interface NewAgent {
  agent_id: string;
  display_name: string;
  jwk: JWK;
  jkt: string;
  capabilities: readonly string[];
  labels: Record<string, string>;
  slots: number;
  boot_id: string;
  enrollment_token_id: string;
  jti: string;
  exp: number;
  lease_ttl_ms: number;
}

/**
 * Creates an agent and counts the use of its enrolment token in one statement: of fifty that race for the last use, one
 * wins. Undefined where the token is revoked, expired or used up.
 */
export async function insertAgent(
  sql: Sql,
  agent: NewAgent,
): Promise<{ agent_id: string; token_epoch: number } | undefined> {
  const [row] = await transition<{ agent_id: string; token_epoch: number }>(sql, {
    before: {
      spent: sql`
        update enrollment_tokens set uses = uses + 1
        where enrollment_token_id = ${agent.enrollment_token_id} and revoked_at is null and expires_at > (select now from clock) and uses < max_uses
        returning *`,
    },
    change: sql`
      insert into agents (agent_id, display_name, owner, serves, public_jwk, jkt, capabilities, enrolled_capabilities, enrolled_slots, enrolled_name_pattern, labels, slots, boot_id,
        enrollment_token_id, created_at, updated_at)
      select ${agent.agent_id}, ${agent.display_name}, owner, serves, ${sql.json(agent.jwk as never)}, ${agent.jkt}, ${agent.capabilities as string[]}::text[],
        capabilities, max_slots, name_pattern, ${sql.json(agent.labels)}, ${agent.slots}, ${agent.boot_id}, enrollment_token_id, now, now from spent, clock
      returning agent_id, token_epoch, agent_id as subject_id, null::jsonb as detail`,
    also: {
      pulse: sql`
        insert into presence (agent_id, last_seen_at, lease_expires_at)
        select agent_id, now, now + ${agent.lease_ttl_ms} * interval '1 millisecond' from changed, clock`,
      life: sql`insert into boots (agent_id, boot_id, started_at) select agent_id, ${agent.boot_id}, now from changed, clock`,
      used: sql`insert into used_jtis (jkt, jti, expires_at) select ${agent.jkt}, ${agent.jti}, to_timestamp(${agent.exp}::float8) from changed`,
    },
    event: recordEvent(sql, 'agent.registered'),
    answer: sql`select agent_id, token_epoch from changed`,
  });
  return row;
}

/** Changes what an admin lets an agent do. Undefined where its mode does not allow it. */
export async function setMode(
  sql: Sql,
  agentId: string,
  event: 'cordon' | 'uncordon' | 'drain',
  mode: AgentMode,
  by?: Actor,
): Promise<{ agent_id: string } | undefined> {
  const [row] = await transition<{ agent_id: string }>(sql, {
    change: sql`
      update agents a set mode = ${mode}, updated_at = (select now from clock)
      from (select agent_id, mode from agents where agent_id = ${agentId} and mode = any(${statesAllowing(AGENT_MODE, event)}::text[]) for no key update) was
      where a.agent_id = was.agent_id returning a.agent_id, a.agent_id as subject_id, a.owner, jsonb_build_object('from', was.mode, 'to', a.mode) as detail,
        jsonb_build_object('mode', was.mode) as before, jsonb_build_object('mode', a.mode) as after`,
    event: recordEvent(sql, { cordon: 'agent.cordoned', uncordon: 'agent.uncordoned', drain: 'agent.draining' }[event]),
    audit: recordAudit(sql, by, `agent.${event}`),
    answer: sql`select agent_id from changed`,
  });
  return row;
}

export interface AgentPatch {
  display_name?: string | undefined;
  labels?: Record<string, string> | undefined;
  slots?: number | undefined;
  capabilities?: readonly string[] | undefined;
  anchor?: boolean | undefined;
}

/** Changes how an agent is named, labelled and sized, what it can do, and whether an admin vouches for it. Undefined where it does not exist. */
export async function updateAgent(
  sql: Sql,
  agentId: string,
  { display_name, labels, slots, capabilities, anchor }: AgentPatch,
  by?: Actor,
): Promise<{ agent_id: string } | undefined> {
  const told = (row: string) =>
    sql.unsafe(`jsonb_build_object('display_name', ${row}.display_name, 'labels', ${row}.labels,
    'slots', ${row}.slots, 'capabilities', ${row}.capabilities, 'anchor', ${row}.anchor)`);
  const [row] = await transition<{ agent_id: string }>(sql, {
    change: sql`
      update agents a set updated_at = (select now from clock), display_name = coalesce(${display_name ?? null}, a.display_name),
        labels = coalesce(${labels ? sql.json(labels) : null}::jsonb, a.labels), slots = coalesce(${slots ?? null}::int, a.slots),
        capabilities = coalesce(${capabilities ? [...capabilities] : null}::text[], a.capabilities), anchor = coalesce(${anchor ?? null}::boolean, a.anchor)
      from (select * from agents where agent_id = ${agentId} for no key update) was
      where a.agent_id = was.agent_id returning a.agent_id, a.agent_id as subject_id, a.owner, null::jsonb as detail,
        ${told('was')} as before, ${told('a')} as after`,
    event: recordEvent(sql, 'agent.updated'),
    audit: recordAudit(sql, by, 'agent.update'),
    answer: sql`select agent_id from changed`,
  });
  return row;
}
