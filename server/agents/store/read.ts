import type { AgentMode, AgentStatus, Standing } from '@muster/shared/lifecycle';
import type { Sql } from '../../platform/database.ts';
import { SCORE, WORST } from './score.ts';

/** Whether an agent exists, which life of it is the current one, and what it may do. */
export async function findAgentState(
  hot: Sql,
  agentId: string,
): Promise<{ mode: AgentMode; boot_id: string; left: boolean } | undefined> {
  const [row] = await hot<
    { mode: AgentMode; boot_id: string; left: boolean }[]
  >`select mode, boot_id, left_at is not null as left from agents where agent_id = ${agentId}`;
  return row;
}

/** Whose an agent is. */
export async function ownerOfAgent(sql: Sql, agentId: string): Promise<string | undefined> {
  const [row] = await sql<{ owner: string }[]>`select owner from agents where agent_id = ${agentId}`;
  return row?.owner;
}

/** How many milliseconds after its last beat an agent counts as stale: a beat is two intervals late. */
const STALE_AFTER_MS = 20_000;

export interface AgentRow {
  agent_id: string;
  display_name: string;
  owner: string;
  serves: 'all' | 'owner';
  capabilities: string[];
  labels: Record<string, string>;
  slots: number;
  slots_used: number;
  status: AgentStatus;
  health: 'OK' | 'DEGRADED';
  mode: AgentMode;
  anchor: boolean;
  trust_score: number;
  standing: Standing;
  quarantined_until: Date | null;
  boot_id: string;
  last_seen_at: Date | null;
  lease_expires_at: Date | null;
  created_at: Date;
  updated_at: Date;
  /** As of when its score is: the pages of one list are of one moment, for scores fade. */
  at: Date;
}

export interface AgentFilter {
  agent_id?: string | undefined;
  status?: AgentStatus | undefined;
  mode?: AgentMode | undefined;
  capability?: string | undefined;
  name?: string | undefined;
  label?: { key: string; value: string } | undefined;
  min_trust?: number | undefined;
  owner?: string | undefined;
  sort_by?: 'trust_score' | 'created_at';
  after?: readonly string[] | undefined;
  limit: number;
}

/**
 * Agents with how they are: status is read off the last beat, trust is the mean over what the agent has shown, weighted by
 * how much it has shown, and a newcomer's 0.5, standing the worst it has (the caller's filter on a capability looks at that one alone).
 */
export async function listAgents(sql: Sql, filter: AgentFilter): Promise<AgentRow[]> {
  const {
    agent_id,
    owner,
    status,
    mode,
    capability,
    name,
    label,
    min_trust,
    sort_by = 'created_at',
    after,
    limit,
  } = filter;
  const can = capability?.includes(':')
    ? sql`${capability} = any(a.capabilities)`
    : sql`exists (select from unnest(a.capabilities) c where c = ${capability ?? ''} or c like ${`${(capability ?? '').replaceAll(/[\\%_]/g, '\\$&')}:%`})`;
  const order = sort_by === 'trust_score' ? sql`trust_score desc, agent_id desc` : sql`agent_id desc`;
  const next =
    sort_by === 'trust_score'
      ? sql`(trust_score, agent_id) < (${after?.[0] ?? '0'}::float8, ${after?.[1] ?? ''})`
      : sql`agent_id < ${after?.[0] ?? ''}`;
  return sql<AgentRow[]>`
    with clock as materialized (select now, coalesce(${after?.[2] ?? null}::timestamptz(3), now::timestamptz(3)) as at from (select muster_now() as now) n),
    seen as (
      select a.agent_id, a.display_name, a.owner, a.serves, a.capabilities, a.labels, a.slots, a.slots_used, a.mode, a.anchor, a.boot_id, a.created_at, a.updated_at,
        clock.at, p.last_seen_at, p.lease_expires_at, coalesce(p.health, 'OK') as health, t.trust_score, t.standing,
        case when t.standing = 'QUARANTINED' then t.quarantined_until end as quarantined_until,
        case when coalesce(p.lease_expires_at <= now, true) then 'OFFLINE'
          when p.last_seen_at < now - interval '${sql.unsafe(String(STALE_AFTER_MS))} milliseconds' then 'STALE' else 'ACTIVE' end as status
      from clock, agents a left join presence p on p.agent_id = a.agent_id
      cross join lateral (
        select ${sql.unsafe(`${SCORE} as trust_score, ${WORST} as standing`)}, max(quarantined_until) as quarantined_until from trust_at(clock.at) n
        where n.agent_id = a.agent_id ${capability ? sql`and (n.capability in (${capability}, '*') or ${capability} like n.capability || ':%')` : sql``}
      ) t
      where true ${agent_id ? sql`and a.agent_id = ${agent_id}` : sql``} ${owner === undefined ? sql`` : sql`and a.owner = ${owner}`} ${mode ? sql`and a.mode = ${mode}` : sql``} ${capability ? sql`and ${can}` : sql``}
        ${name ? sql`and position(lower(${name}) in lower(a.display_name)) > 0` : sql``}
        ${label ? sql`and a.labels ->> ${label.key} = ${label.value}` : sql``}
    )
    select * from seen where true ${status ? sql`and status = ${status}` : sql``} ${min_trust === undefined ? sql`` : sql`and trust_score >= ${min_trust}`}
      ${after ? sql`and ${next}` : sql``}
    order by ${order} limit ${limit}`;
}
