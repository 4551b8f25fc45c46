import type { Json } from '@muster/shared/contract/fields';
import type { Sql } from '../platform/database.ts';
import type { AuditRow, Position, Seal } from './seal.ts';

/** How long an audit row is kept, in days. The trigger that refuses a delete before says the same (drizzle/0003). */
export const KEPT_DAYS = 365;
export const KEPT_MS = KEPT_DAYS * 86_400_000;

type Texts<T> = { [K in keyof T]: T[K] extends bigint ? string : T[K] };

/** A time in full, whatever somebody has written into the column: one that is no time of ours stays as Postgres tells it. */
const timeOf = (text: string): string =>
  /^\d{4}-\d\d-\d\dT[\d:.]+$/.test(text) ? new Date(`${text}Z`).toISOString() : text;

const rowOf = (row: Texts<AuditRow>): AuditRow => ({
  ...row,
  tx: BigInt(row.tx),
  audit_id: BigInt(row.audit_id),
  at: timeOf(row.at),
});
const sealOf = (row: Texts<Seal>): Seal => ({
  ...row,
  seal: BigInt(row.seal),
  tx: BigInt(row.tx),
  audit_id: BigInt(row.audit_id),
  sealed_at: timeOf(row.sealed_at),
});

// As JSON a time has the same text whatever the settings of the session.
const rowColumns = (sql: Sql) =>
  sql`audit_id::text, tx::text, to_json(at at time zone 'UTC') #>> '{}' as at, action, actor, address, request_id, owner, subject_id, before::text, after::text`;
const sealColumns = (sql: Sql) =>
  sql`seal::text, tx::text, audit_id::text, count, previous_hash, hash, kid, signature, to_json(sealed_at at time zone 'UTC') #>> '{}' as sealed_at`;

const positionOf = (sql: Sql, { tx, audit_id }: Position) => sql`(${String(tx)}::xid8, ${String(audit_id)}::bigint)`;

/** The time, and which database this is: its number in the cluster that one `initdb` made, copies of its files included. */
export async function readPlace(sql: Sql): Promise<{ now: Date; database: string }> {
  const [row] = await sql<[{ now: Date; database: string }]>`
    select (select muster_now()) as now, (select system_identifier from pg_control_system()) || '/' || oid as database
    from pg_database where datname = current_database()`;
  return row;
}

export async function lastSeal(sql: Sql): Promise<Seal | undefined> {
  const [row] = await sql<
    Texts<Seal>[]
  >`select ${sealColumns(sql)} from audit_seals order by audit_seals.seal desc limit 1`;
  return row && sealOf(row);
}

/** The number of the oldest seal there is. */
export async function firstSealNumber(sql: Sql): Promise<string | undefined> {
  const [row] = await sql<{ seal: string }[]>`select seal::text from audit_seals order by audit_seals.seal limit 1`;
  return row?.seal;
}

export async function hashOfSeal(sql: Sql, seal: bigint): Promise<string | undefined> {
  const [row] = await sql<{ hash: string }[]>`select hash from audit_seals where seal = ${String(seal)}`;
  return row?.hash;
}

export async function listSeals(sql: Sql, after: bigint | undefined, limit: number): Promise<Seal[]> {
  const rows = await sql<Texts<Seal>[]>`
    select ${sealColumns(sql)} from audit_seals where ${after === undefined ? sql`true` : sql`seal > ${String(after)}`} order by audit_seals.seal limit ${limit}`;
  return rows.map(sealOf);
}

export async function listRows(
  sql: Sql,
  { after, upTo }: { after: Position | undefined; upTo?: Position | undefined },
  limit: number,
): Promise<AuditRow[]> {
  const rows = await sql<Texts<AuditRow>[]>`
    select ${rowColumns(sql)} from audit_logs
    where ${after ? sql`(tx, audit_id) > ${positionOf(sql, after)}` : sql`true`} ${upTo ? sql`and (tx, audit_id) <= ${positionOf(sql, upTo)}` : sql``}
    order by audit_logs.tx, audit_logs.audit_id limit ${limit}`;
  return rows.map(rowOf);
}

/** Rows that nobody can come before any more: a reader stops at the oldest transaction that may still be open. */
export async function listSealable(sql: Sql, after: Position, limit: number): Promise<AuditRow[]> {
  const rows = await sql<Texts<AuditRow>[]>`
    select ${rowColumns(sql)} from audit_logs
    where (tx, audit_id) > ${positionOf(sql, after)} and tx < pg_snapshot_xmin(pg_current_snapshot())
    order by audit_logs.tx, audit_logs.audit_id limit ${limit}`;
  return rows.map(rowOf);
}

/** Whether there are rows after the last seal. */
export const TO_SEAL = `select coalesce((l.tx, l.audit_id) > (s.tx, s.audit_id), true) from (select tx, audit_id from audit_logs order by tx desc, audit_id desc limit 1) l
  left join (select tx, audit_id from audit_seals order by seal desc limit 1) s on true`;

/** Adds a link to the chain. False where another coordinator has added the one of that number. */
export async function insertSeal(sql: Sql, it: Seal): Promise<boolean> {
  const inserted = await sql`
    insert into audit_seals (seal, tx, audit_id, count, previous_hash, hash, kid, signature, sealed_at)
    values (${String(it.seal)}, ${String(it.tx)}, ${String(it.audit_id)}, ${it.count}, ${it.previous_hash}, ${it.hash}, ${it.kid}, ${it.signature}, ${it.sealed_at})
    on conflict (seal) do nothing`;
  return inserted.count === 1;
}

/**
 * Forgets rows of seals that are older than they are kept for, and those seals but the last: the chain hangs on it. A minute
 * late, because the clock may step back between a row and its seal. Answers how many rows and seals went.
 */
export async function pruneAudit(sql: Sql, limit: number): Promise<number> {
  const [row] = await sql<[{ gone: number }]>`
    with cutoff as materialized (select muster_now() - make_interval(days => ${KEPT_DAYS}, mins => 1) as at),
    anchor as materialized (
      select seal, tx, audit_id from (select * from audit_seals order by seal limit ${limit}) oldest
      where sealed_at < (select at from cutoff) order by seal desc limit 1
    ),
    rows_gone as (delete from audit_logs l using anchor a where (l.tx, l.audit_id) <= (a.tx, a.audit_id) returning l.audit_id),
    seals_gone as (delete from audit_seals s using anchor a where s.seal < a.seal returning s.seal)
    select ((select count(*) from rows_gone) + (select count(*) from seals_gone))::int as gone`;
  return row.gone;
}

export interface LoggedRow {
  audit_id: string;
  at: Date;
  action: string;
  actor: string;
  address: string | null;
  request_id: string;
  owner: string;
  subject_id: string;
  before: Json;
  after: Json;
  seal: string | null;
}

export interface LogFilter {
  action?: string | undefined;
  actor?: string | undefined;
  subject_id?: string | undefined;
  owner?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

/** Audit rows, newest first, each with the seal that covers it. `shownOwner`: whose may be seen, everybody's unless said. */
export async function listLogs(
  sql: Sql,
  { action, actor, subject_id, owner, from, to }: LogFilter,
  { shownOwner, before, limit }: { shownOwner: string | undefined; before: string | undefined; limit: number },
): Promise<LoggedRow[]> {
  const only = (condition: unknown, part: ReturnType<typeof sql>) => (condition === undefined ? sql`` : part);
  return sql<LoggedRow[]>`
    select l.audit_id, l.at, l.action, l.actor, l.address, l.request_id, l.owner, l.subject_id, l.before, l.after, s.seal
    from audit_logs l left join lateral (
      select seal from audit_seals where (audit_seals.tx, audit_seals.audit_id) >= (l.tx, l.audit_id) order by audit_seals.tx, audit_seals.audit_id limit 1
    ) s on true
    where true ${only(shownOwner, sql`and l.owner = ${shownOwner!}`)} ${only(owner, sql`and l.owner = ${owner!}`)}
      ${only(action, sql`and l.action = ${action!}`)} ${only(actor, sql`and l.actor = ${actor!}`)}
      ${only(subject_id, sql`and l.subject_id = ${subject_id!}`)}
      ${only(from, sql`and l.at >= ${from!}`)} ${only(to, sql`and l.at < ${to!}`)}
      ${only(before, sql`and l.audit_id < ${before!}`)}
    order by l.audit_id desc limit ${limit}`;
}
