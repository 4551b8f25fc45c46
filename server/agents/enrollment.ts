import type * as contract from '@muster/shared/contract/agents';
import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { notFound, ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import type { SigningKeys } from '../access/signing-keys.ts';
import { type Ctx, ownerOf } from '../platform/ctx.ts';
import { decodeCursor, pageOf } from '../platform/page.ts';
import { meets } from './capability.ts';
import * as store from './store/enrollment-tokens.ts';

/** The `typ` of an enrolment token. */
export const ENROLLMENT_TYP = 'enrollment-token+jwt';

/** Makes an enrolment token: a signed JWT whose row counts its uses. The token itself is told once and not kept. */
export async function createEnrollmentToken(
  ctx: Ctx,
  keys: SigningKeys,
  { body }: InputOf<typeof contract.createEnrollmentToken>,
): Promise<ResponseOf<typeof contract.createEnrollmentToken>> {
  const row = await store.insertEnrollmentToken(ctx.db.admin, {
    enrollment_token_id: newId('enroll'),
    owner: body.owner ?? ownerOf(ctx),
    serves: body.serves ?? 'owner',
    capabilities: body.capabilities ?? null,
    max_slots: body.max_slots ?? null,
    max_uses: body.max_uses,
    ttl_seconds: body.ttl_seconds,
  });
  const enrollment_token = await keys.sign(ENROLLMENT_TYP, { jti: row.enrollment_token_id }, row.expires_at);
  return { enrollment_token_id: row.enrollment_token_id, enrollment_token, expires_at: row.expires_at.toISOString() };
}

export async function listEnrollmentTokens(ctx: Ctx, { query }: InputOf<typeof contract.listEnrollmentTokens>) {
  const after = decodeCursor(query.cursor, 1)?.[0];
  const rows = await store.listEnrollmentTokens(ctx.db.orm, { after, limit: query.limit + 1 });
  return pageOf(rows, query.limit, store.showEnrollmentToken, (row) => [row.enrollment_token_id]);
}

export async function getEnrollmentToken(ctx: Ctx, id: string) {
  const row = await store.findEnrollmentToken(ctx.db.orm, id);
  if (!row) throw notFound('enrolment token', id);
  return store.showEnrollmentToken(row);
}

export async function revokeEnrollmentToken(ctx: Ctx, id: string) {
  await store.revokeEnrollmentToken(ctx.db.admin, id);
  return getEnrollmentToken(ctx, id);
}

/** Refuses an agent that says it is more than it was enrolled for. */
export function withinEnrolment(
  { capabilities, slots }: { capabilities?: readonly string[] | undefined; slots?: number | undefined },
  enrolled: readonly string[] | null,
  maxSlots: number | null,
): void {
  const beyond = enrolled && capabilities?.find((has) => !enrolled.some((allowed) => meets(has, allowed)));
  if (beyond)
    throw new ProblemError(
      'insufficient-scope',
      `capability ${beyond} is not in the enrolment, which has ${enrolled.join(', ')}`,
    );
  if (maxSlots !== null && slots !== undefined && slots > maxSlots) {
    throw new ProblemError('insufficient-scope', `${slots} slots are more than the ${maxSlots} of the enrolment`);
  }
}
