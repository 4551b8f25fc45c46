import type { Ctx } from '../platform/ctx.ts';
import type { Fragment, Sql } from '../platform/database.ts';

/** Who makes a change, and from where. */
export interface Actor {
  actor: string;
  address: string | null;
  request_id: string;
}

/** The actor to be recorded: the holder of an API key. What agents do to themselves is told by events alone. */
export const actorOf = ({ principal, address, requestId }: Ctx): Actor | undefined =>
  principal.kind === 'key'
    ? { actor: principal.api_key_id, address: address ?? null, request_id: requestId }
    : undefined;

/**
 * The audit row of a transition, for its part `audit`: `changed` gives `subject_id`, `owner`, and as jsonb what was `before`
 * and `after`, of the fields that matter and never a secret. No change, no row; nobody to name, none either.
 */
export const recordAudit = (sql: Sql, by: Actor | undefined, action: string): Fragment | undefined =>
  by &&
  sql`
  insert into audit_logs (tx, at, action, actor, address, request_id, owner, subject_id, before, after)
  select pg_current_xact_id(), (select now from clock), ${action}, ${by.actor}, ${by.address}, ${by.request_id}, owner, subject_id, before, after from changed`;

/** The audit row of a change of many, one for each owner: by which `filter` they were chosen and how many there were. */
export const recordBulkAudit = (
  sql: Sql,
  by: Actor | undefined,
  action: string,
  filter: object,
): Fragment | undefined =>
  by &&
  sql`
  insert into audit_logs (tx, at, action, actor, address, request_id, owner, subject_id, after)
  select pg_current_xact_id(), (select now from clock), ${action}, ${by.actor}, ${by.address}, ${by.request_id}, owner, 'tasks',
    jsonb_build_object('filter', ${JSON.stringify(filter)}::text::jsonb, 'changed', count(*)) from changed group by owner`;

/** The same for statements that are plain text: `$first` and the two that follow are the parts of the actor, null where there is none. */
export const auditText = (action: string, first: number): string => `audit as (
  insert into audit_logs (tx, at, action, actor, address, request_id, owner, subject_id, before, after)
  select pg_current_xact_id(), (select now from clock), '${action}', $${first}::text, $${first + 1}::text, $${first + 2}::text, owner, subject_id, before, after
  from changed where $${first}::text is not null)`;

/** A time inside `before` and `after`, as on the wire. */
export const auditedTime = (sql: Sql, column: string): Fragment =>
  sql`to_char(${sql(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
