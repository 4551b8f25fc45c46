import { type Actor, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import type { Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';

/** What the one limit of the network is called. */
export const NETWORK = '*';

/** How many limits there are at most: every coordinator keeps them all. */
export const MOST_LIMITS = 10_000;

export type Scope = 'global' | 'owner' | 'capability';

/** What a limit says; null where it says nothing. */
export interface Bounds {
  max_running: number | null;
  starts_per_second: number | null;
  weight: number | null;
}

export interface Limit extends Bounds {
  scope: Scope;
  name: string;
}

export const listLimits = (sql: Sql): Promise<Limit[]> => sql<Limit[]>`
  select scope, name, max_running, starts_per_second, weight from limits order by scope, name`;

/** A limit with what it counts now. */
export interface LimitRow extends Limit {
  running: number;
  updated_at: Date;
}

/** Limits with the runs there are under each, those that are being stopped too; canaries are not their owner's. `named`: one; else all, or those that concern an owner's tasks of a capability. */
export async function countLimits(
  sql: Sql,
  { scope, name, owner, capability }: { scope?: Scope; name?: string; owner?: string; capability?: string } = {},
): Promise<LimitRow[]> {
  const one = scope === undefined ? sql`` : sql`and l.scope = ${scope} and l.name = ${name ?? ''}`;
  const concerned =
    owner === undefined
      ? sql``
      : sql`and (l.scope = 'global' or l.scope = 'owner' and l.name = ${owner} or l.scope = 'capability' and l.name = ${capability ?? ''})`;
  return sql<LimitRow[]>`
    with live as materialized (
      select c.owner, c.capability, sum(r.n) as n, sum(r.own) as own from (
        select class_id, count(*) as n, count(*) filter (where replica >= 0) as own from leases group by 1) r join classes c using (class_id) group by 1, 2
    )
    select l.scope, l.name, l.max_running, l.starts_per_second, l.weight, l.updated_at,
      (select coalesce(sum(case l.scope when 'owner' then own else n end), 0)::int from live where l.scope = 'global' or l.scope = 'owner' and live.owner = l.name or l.scope = 'capability' and live.capability = l.name) as running
    from limits l where true ${one} ${concerned} order by l.scope, l.name`;
}

/** What a limit is to the outbox and to the audit log. */
const subject = (sql: Sql) =>
  sql`scope || ':' || name as subject_id, case scope when 'owner' then name else ${NETWORK} end as owner`;
const said = (sql: Sql, of: string) =>
  sql`jsonb_strip_nulls(jsonb_build_object('max_running', ${sql(of)}.max_running, 'starts_per_second', ${sql(of)}.starts_per_second, 'weight', ${sql(of)}.weight))`;

/** Sets a limit, in place of what it was; nothing where there are too many. What runs already is counted. */
export async function putLimit(sql: Sql, { scope, name, ...bounds }: Limit, by?: Actor): Promise<void> {
  await transition(sql, {
    before: {
      old: sql`select * from limits where scope = ${scope} and name = ${name} for no key update`,
    },
    change: sql`
      insert into limits as l (scope, name, max_running, starts_per_second, weight, tokens, refilled_at, updated_at)
      select ${scope}, ${name}, ${bounds.max_running}::int, ${bounds.starts_per_second}::float8, ${bounds.weight}::int,
        greatest(1, ${bounds.starts_per_second}::float8 / 10), now, now from clock
      where exists (select from old) or (select count(*) from limits) < ${MOST_LIMITS}
      on conflict (scope, name) do update set max_running = excluded.max_running, starts_per_second = excluded.starts_per_second, weight = excluded.weight, updated_at = excluded.updated_at
      returning ${subject(sql)}, null::jsonb as detail, (select ${said(sql, 'old')} from old) as before, ${said(sql, 'l')} as after`,
    event: recordEvent(sql, 'limit.set'),
    audit: recordAudit(sql, by, 'limit.set'),
  });
}

/** Ends a limit; whether there was one. */
export async function deleteLimit(
  sql: Sql,
  { scope, name }: Pick<Limit, 'scope' | 'name'>,
  by?: Actor,
): Promise<boolean> {
  const gone = await transition(sql, {
    change: sql`
      delete from limits l where scope = ${scope} and name = ${name}
      returning ${subject(sql)}, null::jsonb as detail, ${said(sql, 'l')} as before, null::jsonb as after`,
    also: {
      holds: sql`delete from limit_holds where scope = ${scope} and name = ${name} and exists (select from changed)`,
    },
    event: recordEvent(sql, 'limit.ended'),
    audit: recordAudit(sql, by, 'limit.delete'),
  });
  return gone.length > 0;
}

/** For so long after it was said, what claims that had not heard of a limit began is added to what it counts, in seconds. */
const SETTLES = 30;

/** Whether a limit was set a moment ago, or an agent has kept slots free for too long. */
export const TO_HOLD = `exists (select from limits where max_running is not null and updated_at > (select now from clock) - interval '${SETTLES} seconds')
  or exists (select from slot_savers where since < (select now from clock) - interval '1 hour')`;

/** Counts runs towards limits that were set while they were being begun. Answers how many. */
export async function countUnheld(sql: Sql): Promise<number> {
  const counted = await sql`
    with clock as materialized (select muster_now() as now),
    fresh as materialized (
      select l.scope, l.name from clock, limits l where max_running is not null and updated_at > now - ${SETTLES} * interval '1 second' order by 1, 2 for no key update of l
    )
    insert into limit_holds (scope, name, fence)
    select f.scope, f.name, l.fence from fresh f join classes c on f.scope = 'global' or f.scope = 'owner' and c.owner = f.name or f.scope = 'capability' and c.capability = f.name
    join leases l on l.class_id = c.class_id and (l.replica >= 0 or f.scope <> 'owner') on conflict do nothing`;
  return counted.count;
}

/** Forgets agents that have kept slots free for an hour, and so those of tasks that are gone: others may take their place. */
export async function forgetSavers(sql: Sql): Promise<number> {
  const gone = await sql`delete from slot_savers where since < (select muster_now()) - interval '1 hour'`;
  return gone.count;
}
