import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';

/** Whose pause it is when it is everybody's. */
export const EVERYBODY = '*';

/** How many pauses an owner has at most: every coordinator keeps them all. */
export const MOST_PAUSES = 1_000;

/** A capability nobody is given tasks of. */
export interface Pause {
  owner: string;
  capability: string;
}

/** What a pause and its end are to the outbox and to the audit log. */
const changed = (sql: Sql) => sql`capability as subject_id, owner, jsonb_build_object('owner', owner) as detail`;

/** Pauses a capability; nothing where it is paused already, or too many are. */
export async function insertPause(sql: Sql, { owner, capability }: Pause, by?: Actor): Promise<void> {
  await transition(sql, {
    change: sql`
      insert into pauses (owner, capability, paused_at) select ${owner}, ${capability}, now from clock
      where (select count(*) from pauses where owner = ${owner}) < ${MOST_PAUSES} on conflict do nothing
      returning ${changed(sql)}, jsonb_build_object('paused', false) as before, jsonb_build_object('paused', true) as after`,
    event: recordEvent(sql, 'capability.paused'),
    audit: recordAudit(sql, by, 'capability.pause'),
  });
}

/** Ends a pause of one owner; one that everybody's ends is every owner's too. */
export async function deletePauses(sql: Sql, { owner, capability }: Pause, by?: Actor): Promise<void> {
  await transition(sql, {
    change: sql`
      delete from pauses where capability = ${capability} ${owner === EVERYBODY ? sql`` : sql`and owner = ${owner}`}
      returning ${changed(sql)}, jsonb_build_object('paused', true) as before, jsonb_build_object('paused', false) as after`,
    event: recordEvent(sql, 'capability.resumed'),
    audit: recordAudit(sql, by, 'capability.resume'),
  });
}

export const listPauses = (sql: Sql): Promise<Pause[]> => sql<Pause[]>`select owner, capability from pauses`;

/** The pause that holds for an owner's tasks of a capability: everybody's before its own. */
export async function findPause(
  sql: Sql,
  { owner, capability }: Pause,
): Promise<(Pause & { paused_at: Date }) | undefined> {
  const [row] = await sql<(Pause & { paused_at: Date })[]>`
    select owner, capability, paused_at from pauses where capability = ${capability} and owner in (${owner}, ${EVERYBODY})
    order by owner <> ${EVERYBODY} limit 1`;
  return row;
}

/** A capability of an owner, and how it is paused if it is. */
export interface PausedRow extends Pause {
  paused_at: Date | null;
  paused_by: 'owner' | 'network' | null;
}

/** The capabilities there were tasks of or there are pauses of, those that are paused first. */
export async function listCapabilities(
  sql: Sql,
  { owner, capability, limit }: { owner: string | undefined; capability?: string | undefined; limit: number },
): Promise<PausedRow[]> {
  const narrowed = sql`${owner === undefined ? sql`` : sql`and owner = ${owner}`} ${capability ? sql`and capability = ${capability}` : sql``}`;
  return sql<PausedRow[]>`
    select k.owner, k.capability, coalesce(a.paused_at, o.paused_at) as paused_at,
      case when a.capability is not null then 'network' when o.capability is not null then 'owner' end as paused_by
    from (select owner, capability from classes where true ${narrowed} union select owner, capability from pauses where true ${narrowed}) k
    left join pauses o on o.owner = k.owner and o.capability = k.capability
    left join pauses a on a.owner = ${EVERYBODY} and a.capability = k.capability
    order by a.capability is null and o.capability is null, k.capability, k.owner limit ${limit}`;
}
