import type { Scope } from '@muster/shared/contract/scopes';
import { type Actor, auditedTime, recordAudit } from '../../audit/record.ts';
import { recordEvent } from '../../events/record.ts';
import { arrayLiteral, type Fragment, type Sql } from '../../platform/database.ts';
import { transition } from '../../platform/transition.ts';

/** A key as it may be shown. */
export interface ApiKeyRow {
  api_key_id: string;
  name: string;
  owner: string;
  scopes: Scope[];
  allowed_addresses: string[] | null;
  requests_per_minute: number;
  uses: number;
  last_used_at: Date | null;
  expires_at: Date | null;
  revoked_at: Date | null;
  created_at: Date;
  updated_at: Date;
}

const SHOWN = [
  'api_key_id',
  'name',
  'owner',
  'scopes',
  'allowed_addresses',
  'requests_per_minute',
  'uses',
  'last_used_at',
  'expires_at',
  'revoked_at',
  'created_at',
  'updated_at',
];

export interface NewApiKey extends Pick<ApiKeyRow, 'api_key_id' | 'name' | 'owner' | 'scopes' | 'requests_per_minute'> {
  allowed_addresses: readonly string[] | null;
  secret_hash: string;
  expires_at: string | null;
}

/** What the audit log tells of a key: what it is for, never its hash. */
const told = (sql: Sql, row: string): Fragment => {
  const k = sql.unsafe(row);
  const time = (column: string) => auditedTime(sql, `${row}.${column}`);
  return sql`jsonb_build_object('name', ${k}.name, 'scopes', ${k}.scopes, 'allowed_addresses', ${k}.allowed_addresses,
    'requests_per_minute', ${k}.requests_per_minute, 'expires_at', ${time('expires_at')}, 'revoked_at', ${time('revoked_at')})`;
};

export async function insertApiKey(sql: Sql, key: NewApiKey, by: Actor | undefined): Promise<void> {
  await transition(sql, {
    change: sql`
      insert into api_keys as k (api_key_id, name, owner, scopes, allowed_addresses, requests_per_minute, secret_hash, expires_at, created_at, updated_at)
      select ${key.api_key_id}, ${key.name}, ${key.owner}, ${key.scopes}::text[], ${key.allowed_addresses as string[] | null}::text[], ${key.requests_per_minute}, ${key.secret_hash},
        ${key.expires_at}::timestamptz, now, now from clock
      returning api_key_id as subject_id, owner, null::jsonb as detail, null::jsonb as before, ${told(sql, 'k')} as after`,
    event: recordEvent(sql, 'api_key.created'),
    audit: recordAudit(sql, by, 'api_key.create'),
  });
}

/** What may be changed of a key; what is left out stays. */
export interface ApiKeyPatch {
  name?: string | undefined;
  scopes?: readonly Scope[] | undefined;
  allowed_addresses?: readonly string[] | null | undefined;
  requests_per_minute?: number | undefined;
  expires_at?: string | null | undefined;
}

/** A key as somebody looked at it, before deciding to change it. */
export type SeenKey = Pick<ApiKeyRow, 'api_key_id' | 'updated_at'>;

/** A change of a key that still is as it was seen, with its event and audit row. Answers whether it was. */
async function changeKey(
  sql: Sql,
  seen: SeenKey,
  set: Fragment,
  { event, action, by }: { event: string; action: string; by: Actor | undefined },
): Promise<boolean> {
  const rows = await transition(sql, {
    before: {
      was: sql`
        select * from api_keys where api_key_id = ${seen.api_key_id} and updated_at = ${seen.updated_at} and revoked_at is null for no key update`,
    },
    change: sql`
      update api_keys k set ${set}, updated_at = (select now from clock) from was where k.api_key_id = was.api_key_id
      returning k.api_key_id as subject_id, k.owner, null::jsonb as detail, ${told(sql, 'was')} as before, ${told(sql, 'k')} as after`,
    event: recordEvent(sql, event),
    audit: recordAudit(sql, by, action),
  });
  return rows.length > 0;
}

export const updateApiKey = (sql: Sql, seen: SeenKey, patch: ApiKeyPatch, by: Actor | undefined): Promise<boolean> => {
  const { name, scopes, allowed_addresses: addresses, requests_per_minute: rate, expires_at: expires } = patch;
  const set = sql`
    name = coalesce(${name ?? null}, k.name), scopes = coalesce(${(scopes as string[]) ?? null}::text[], k.scopes),
    allowed_addresses = ${addresses === undefined ? sql`k.allowed_addresses` : sql`${addresses as string[] | null}::text[]`},
    requests_per_minute = coalesce(${rate ?? null}::int, k.requests_per_minute),
    expires_at = ${expires === undefined ? sql`k.expires_at` : sql`${expires}::timestamptz`}`;
  return changeKey(sql, seen, set, { event: 'api_key.updated', action: 'api_key.update', by });
};

/** Gives a key a new secret; the old one ends at once, or is good for a while longer. */
export const rotateApiKey = (
  sql: Sql,
  seen: SeenKey,
  { hash, overlapSeconds }: { hash: string; overlapSeconds: number },
  by: Actor | undefined,
): Promise<boolean> => {
  const former =
    overlapSeconds === 0
      ? sql`former_hash = null, former_expires_at = null`
      : sql`former_hash = k.secret_hash, former_expires_at = (select now from clock) + make_interval(secs => ${overlapSeconds})`;
  return changeKey(sql, seen, sql`secret_hash = ${hash}, ${former}`, {
    event: 'api_key.rotated',
    action: 'api_key.rotate',
    by,
  });
};

export const revokeApiKey = (sql: Sql, seen: SeenKey, by: Actor | undefined): Promise<boolean> =>
  changeKey(sql, seen, sql`revoked_at = (select now from clock), former_hash = null, former_expires_at = null`, {
    event: 'api_key.revoked',
    action: 'api_key.revoke',
    by,
  });

export async function findApiKey(sql: Sql, apiKeyId: string): Promise<ApiKeyRow | undefined> {
  const [row] = await sql<ApiKeyRow[]>`select ${sql(SHOWN)} from api_keys where api_key_id = ${apiKeyId}`;
  return row && { ...row, uses: Number(row.uses) };
}

export async function listApiKeys(
  sql: Sql,
  { owner, after, limit }: { owner: string | undefined; after: string | undefined; limit: number },
): Promise<ApiKeyRow[]> {
  const rows = await sql<ApiKeyRow[]>`
    select ${sql(SHOWN)} from api_keys
    where true ${owner === undefined ? sql`` : sql`and owner = ${owner}`} ${after ? sql`and api_key_id < ${after}` : sql``}
    order by api_key_id desc limit ${limit}`;
  return rows.map((row) => ({ ...row, uses: Number(row.uses) }));
}

export async function ownerOfApiKey(sql: Sql, apiKeyId: string): Promise<string | undefined> {
  const [row] = await sql<{ owner: string }[]>`select owner from api_keys where api_key_id = ${apiKeyId}`;
  return row?.owner;
}

/** What vouching for a key takes. */
export interface KnownKey {
  api_key_id: string;
  owner: string;
  scopes: Scope[];
  allowed_addresses: string[] | null;
  requests_per_minute: number;
  secret_hash: string;
  former_hash: string | null;
  former_expires_at: Date | null;
  expires_at: Date | null;
}

/** Keys that are not revoked, by id. */
export async function findKnownKeys(hot: Sql, apiKeyIds: readonly string[]): Promise<Map<string, KnownKey>> {
  type Row = Omit<KnownKey, 'scopes' | 'allowed_addresses'> & { scopes: string; allowed_addresses: string | null };
  const rows = await hot.unsafe<Row[]>(
    `select api_key_id, owner, array_to_json(scopes)::text as scopes, array_to_json(allowed_addresses)::text as allowed_addresses, requests_per_minute,
       secret_hash, former_hash, former_expires_at, expires_at
     from api_keys where api_key_id = any($1::text::text[]) and revoked_at is null`,
    [arrayLiteral(apiKeyIds)],
    { prepare: true },
  );
  const lists = ({ scopes, allowed_addresses: addresses }: Row) => ({
    scopes: JSON.parse(scopes) as Scope[],
    allowed_addresses: addresses === null ? null : (JSON.parse(addresses) as string[]),
  });
  return new Map(rows.map((row) => [row.api_key_id, { ...row, ...lists(row) }]));
}

/** Adds up what was counted since last time. Rows are locked by id, so that two coordinators that count the same keys do not wait in a circle. */
export async function countUses(sql: Sql, uses: ReadonlyMap<string, number>): Promise<number> {
  const result = await sql`
    with counted as materialized (
      select * from unnest(${[...uses.keys()]}::text[], ${[...uses.values()]}::int[]) as x(id, n)
    ),
    locked as materialized (
      select api_key_id from api_keys where api_key_id in (select id from counted) order by api_key_id for no key update
    )
    update api_keys k set uses = k.uses + n, last_used_at = (select muster_now())
    from locked l join counted c on c.id = l.api_key_id where k.api_key_id = l.api_key_id`;
  return result.count;
}

/** Forgets keys that have been over for so long that nobody asks any more. */
export async function pruneApiKeys(sql: Sql, days: number): Promise<number> {
  const result = await sql`
    delete from api_keys where least(revoked_at, expires_at) < (select muster_now()) - make_interval(days => ${days})`;
  return result.count;
}
