import { arrayLiteral, type Sql } from '../../platform/database.ts';
import type { Party } from '../parties.ts';

/** Who could do the tasks of a class now. */
export interface Field {
  /** How many owners they have. */
  owners: number;
  /** Those whose word vouches for others', some of them at least. */
  trusted: Party[];
}

/** The most that are named of those that are trusted. */
const NAMED = 50;

/** Who there is for each of these classes: alive, open, of the capability, and serving its owner. */
export async function findFields(sql: Sql, classIds: readonly number[]): Promise<Map<number, Field>> {
  const rows = await sql<{ class_id: string; owners: number; trusted: Party[] }[]>`
    with clock as materialized (select muster_now() as now)
    select c.class_id, count(distinct f.owner)::int as owners, coalesce(jsonb_agg(jsonb_build_object(
      'agent_id', f.agent_id, 'enrollment_token_id', f.enrollment_token_id, 'owner', f.owner)) filter (where f.trusted and f.nth <= ${NAMED}), '[]') as trusted
    from classes c cross join lateral (
      select a.agent_id, a.enrollment_token_id, a.owner, v.trusted, row_number() over (order by v.trusted desc, a.agent_id) as nth
      from agents a join presence p on p.agent_id = a.agent_id
      cross join lateral (select a.anchor or exists (
        select from integrity i where i.agent_id = a.agent_id and i.capability = c.capability and i.standing = 'TRUSTED') as trusted) v
      where a.mode = 'OPEN' and a.left_at is null and p.lease_expires_at > (select now from clock) and (a.owner = c.owner or a.serves = 'all')
        and exists (select from unnest(a.capabilities) as has where has = c.capability or starts_with(has, c.capability || ':'))
        and not exists (select from integrity i where i.agent_id = a.agent_id and i.capability in (c.capability, '*') and i.standing in ('QUARANTINED', 'BANNED'))
    ) f
    where c.class_id = any(${arrayLiteral(classIds)}::text::bigint[]) group by c.class_id`;
  return new Map(rows.map(({ class_id, ...field }) => [Number(class_id), field]));
}
