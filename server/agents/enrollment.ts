import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import type * as contract from '@muster/shared/contract/enrollment';
import { notFound, ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import type { SigningKeys } from '../access/signing-keys.ts';
import { actorOf } from '../audit/record.ts';
import { isAdmin } from '../platform/auth.ts';
import { type Ctx, ownerOf, shownOwner } from '../platform/ctx.ts';
import { decodeCursor, pageOf } from '../platform/page.ts';
import * as store from './store/enrollment-tokens.ts';

/** The `typ` of an enrolment token. */
export const ENROLLMENT_TYP = 'enrollment-token+jwt';

/** Makes an enrolment token: a signed JWT whose row counts its uses. The token itself is told once and not kept. */
export async function createEnrollmentToken(
  ctx: Ctx,
  keys: SigningKeys,
  { body }: InputOf<typeof contract.createEnrollmentToken>,
): Promise<ResponseOf<typeof contract.createEnrollmentToken>> {
  const owner = body.owner ?? ownerOf(ctx);
  refuseForOthers(ctx, owner, body.serves);
  const token = {
    enrollment_token_id: newId('enroll'),
    owner,
    serves: body.serves ?? 'owner',
    capabilities: body.capabilities ?? null,
    name_pattern: body.name_pattern ?? null,
    max_slots: body.max_slots ?? null,
    key_thumbprint: body.key_thumbprint ?? null,
    max_uses: body.max_uses,
    ttl_seconds: body.ttl_seconds,
  };
  const row = await store.insertEnrollmentToken(ctx.db.admin, token, actorOf(ctx));
  const enrollment_token = await keys.sign(ENROLLMENT_TYP, { jti: row.enrollment_token_id }, row.expires_at);
  return { enrollment_token_id: row.enrollment_token_id, enrollment_token, expires_at: row.expires_at.toISOString() };
}

/** Agents of another's, or that see everybody's work, are an admin's to let in. */
function refuseForOthers(ctx: Ctx, owner: string, serves: 'all' | 'owner' | undefined): void {
  if (isAdmin(ctx.principal)) return;
  if (owner !== ownerOf(ctx))
    throw new ProblemError('insufficient-scope', `only an admin may make enrolment tokens for another owner: ${owner}`);
  if (serves === 'all')
    throw new ProblemError('insufficient-scope', 'only an admin may make enrolment tokens with serves "all"');
}

export async function listEnrollmentTokens(ctx: Ctx, { query }: InputOf<typeof contract.listEnrollmentTokens>) {
  const after = decodeCursor(query.cursor, 1)?.[0];
  const rows = await store.listEnrollmentTokens(ctx.db.orm, { owner: shownOwner(ctx), after, limit: query.limit + 1 });
  return pageOf(rows, query.limit, store.showEnrollmentToken, (row) => [row.enrollment_token_id]);
}

export async function getEnrollmentToken(ctx: Ctx, id: string) {
  const row = await store.findEnrollmentToken(ctx.db.orm, id);
  if (!row) throw notFound('enrolment token', id);
  return store.showEnrollmentToken(row);
}

export async function revokeEnrollmentToken(ctx: Ctx, id: string) {
  await store.revokeEnrollmentToken(ctx.db.admin, id, actorOf(ctx));
  return getEnrollmentToken(ctx, id);
}
