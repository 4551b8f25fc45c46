import * as contract from '@muster/shared/contract/access';
import type { InputOf } from '@muster/shared/contract/endpoint';
import { notFound, ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { actorOf } from '../audit/record.ts';
import { isAdmin } from '../platform/auth.ts';
import { type Ctx, ownerOf, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, pageOf } from '../platform/page.ts';
import { hashOf } from './api-key-auth.ts';
import { makeKey } from './key-format.ts';
import * as store from './store/api-keys.ts';

const iso = (at: Date | null): string | null => at?.toISOString() ?? null;

const showKey = (row: store.ApiKeyRow) => ({
  ...row,
  last_used_at: iso(row.last_used_at),
  expires_at: iso(row.expires_at),
  revoked_at: iso(row.revoked_at),
  created_at: row.created_at.toISOString(),
  updated_at: row.updated_at.toISOString(),
});

/** The key of an id; the secret is the key itself, so only its hash is kept. */
const keyFor = (apiKeyId: string): string => makeKey(apiKeyId.slice('key_'.length));

export async function createApiKey(ctx: Ctx, { body }: InputOf<typeof contract.createApiKey>) {
  const wanted = {
    owner: body.owner ?? ownerOf(ctx),
    scopes: body.scopes,
    allowed_addresses: body.allowed_addresses ?? limitsOf(ctx)?.allowed_addresses ?? null,
    requests_per_minute:
      body.requests_per_minute ??
      Math.min(contract.REQUESTS_PER_MINUTE, limitsOf(ctx)?.requests_per_minute ?? contract.REQUESTS_PER_MINUTE),
    expires_at: body.expires_at ?? iso(limitsOf(ctx)?.expires_at ?? null),
  };
  refuseWider(ctx, wanted);
  const api_key_id = newId('key');
  const api_key = keyFor(api_key_id);
  await store.insertApiKey(
    ctx.db.admin,
    { api_key_id, name: body.name, secret_hash: hashOf(api_key), ...wanted },
    actorOf(ctx),
  );
  return { ...(await getApiKey(ctx, api_key_id)), api_key };
}

export async function listApiKeys(ctx: Ctx, { query }: InputOf<typeof contract.listApiKeys>) {
  const shown = shownOwner(ctx);
  if (shown !== undefined && query.owner !== undefined && query.owner !== shown) return { data: [], next_cursor: null };
  const after = decodeCursor(query.cursor, 1)?.[0];
  const rows = await store.listApiKeys(ctx.db.admin, { owner: shown ?? query.owner, after, limit: query.limit + 1 });
  return pageOf(rows, query.limit, showKey, (row) => [row.api_key_id]);
}

export async function getApiKey(ctx: Ctx, apiKeyId: string) {
  return showKey(await findApiKey(ctx, apiKeyId));
}

export async function updateApiKey(ctx: Ctx, { params, body }: InputOf<typeof contract.updateApiKey>) {
  const seen = await findApiKey(ctx, params.api_key_id);
  refuseWider(ctx, showKey(seen));
  refuseWider(ctx, { ...showKey(seen), ...definedOf(body) });
  await change(ctx, seen, () => store.updateApiKey(ctx.db.admin, seen, body, actorOf(ctx)));
  return getApiKey(ctx, params.api_key_id);
}

export async function rotateApiKey(ctx: Ctx, { params, body }: InputOf<typeof contract.rotateApiKey>) {
  const seen = await findApiKey(ctx, params.api_key_id);
  refuseWider(ctx, showKey(seen));
  const api_key = keyFor(params.api_key_id);
  const secret = { hash: hashOf(api_key), overlapSeconds: body.overlap_seconds };
  await change(ctx, seen, () => store.rotateApiKey(ctx.db.admin, seen, secret, actorOf(ctx)));
  return { ...(await getApiKey(ctx, params.api_key_id)), api_key };
}

/** Revokes a key; doing so again changes nothing. */
export async function revokeApiKey(ctx: Ctx, apiKeyId: string) {
  const seen = await findApiKey(ctx, apiKeyId);
  refuseWider(ctx, showKey(seen));
  if (!seen.revoked_at) await change(ctx, seen, () => store.revokeApiKey(ctx.db.admin, seen, actorOf(ctx)));
  return getApiKey(ctx, apiKeyId);
}

async function findApiKey(ctx: Ctx, apiKeyId: string): Promise<store.ApiKeyRow> {
  const row = await store.findApiKey(ctx.db.admin, apiKeyId);
  if (!row) throw notFound('API key', apiKeyId);
  return row;
}

/** What was seen may have been widened meanwhile: then it is looked at anew, by whoever asks again. */
async function change(ctx: Ctx, seen: store.ApiKeyRow, changing: () => Promise<boolean>): Promise<void> {
  const id = seen.api_key_id;
  if (seen.revoked_at) throw new ProblemError('conflict', `API key ${id} is revoked`);
  if (!(await changing())) throw new ProblemError('conflict', `API key ${id} was changed by somebody else; look again`);
  ctx.notifier.tell('key', id);
}

const definedOf = <T extends object>(body: T) =>
  Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)) as Partial<T>;

/** What a key that is not an admin's can pass on at most: itself. */
const limitsOf = ({ principal }: Ctx) => (principal.kind === 'key' && !isAdmin(principal) ? principal : undefined);

interface Reach {
  owner: string;
  scopes: readonly string[];
  allowed_addresses?: readonly string[] | null | undefined;
  requests_per_minute?: number | undefined;
  expires_at?: string | null | undefined;
}

/** A key neither makes nor touches one that reaches further than itself: it would be a way to more. */
function refuseWider(ctx: Ctx, key: Reach): void {
  const own = limitsOf(ctx);
  if (!own) return;
  const beyond = widerIn(own, key);
  if (beyond) throw new ProblemError('insufficient-scope', `your key does not reach so far: ${beyond}`);
}

function widerIn(own: NonNullable<ReturnType<typeof limitsOf>>, key: Reach): string | undefined {
  if (key.owner !== own.owner) return `owner ${key.owner}`;
  const scope = key.scopes.find((it) => !(own.scopes as readonly string[]).includes(it));
  if (scope) return `scope ${scope}`;
  const { allowed_addresses: allowed, requests_per_minute: rate, expires_at: ends } = own;
  if (allowed && !key.allowed_addresses?.every((range) => allowed.includes(range)))
    return `addresses ${key.allowed_addresses?.join(', ') ?? 'of any kind'}`;
  if (rate !== null && (key.requests_per_minute ?? 0) > rate) return `${key.requests_per_minute} requests a minute`;
  if (ends && !(key.expires_at && Date.parse(key.expires_at) <= ends.getTime()))
    return `until ${key.expires_at ?? 'for ever'}`;
  return undefined;
}
