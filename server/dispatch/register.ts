import type * as contract from '@muster/shared/contract/agents';
import type { InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { grantSession } from '../agents/access-token.ts';
import { ENROLLMENT_TYP, withinEnrolment } from '../agents/enrollment.ts';
import { type Registration, verifyAssertion, verifyRegistration } from '../agents/proofs.ts';
import { type EnrollmentTokenRow, findEnrollmentToken } from '../agents/store/enrollment-tokens.ts';
import { findAgentState } from '../agents/store/read.ts';
import { type Enrolment, findEnrolment, insertAgent } from '../agents/store/write.ts';
import type { Ctx } from '../platform/ctx.ts';
import { sqlState } from '../platform/storage-errors.ts';
import type { Dispatch } from './dispatch.ts';
import { type Announcement, bootAgent } from './store/boot.ts';
import { HEARTBEAT_INTERVAL_MS, LEASE_TTL_MS } from './store/heartbeat.ts';

/** The version of the agent protocol spoken here. */
const PROTOCOL_VERSION = 1;
/** How long agents are told to let a poll wait, in milliseconds. */
const POLL_WAIT_MS = 25_000;
const UNIQUE_VIOLATION = '23505';

/** Registers an agent. A key that is known is the same agent, in a new life. */
export async function registerAgent(
  ctx: Ctx,
  dispatch: Dispatch,
  { body }: InputOf<typeof contract.registerAgent>,
): Promise<ResponseOf<typeof contract.registerAgent>> {
  const registration = await verifyRegistration(body.registration, ctx.clock.now());
  const { claims } = registration;
  if (claims.protocol_version !== PROTOCOL_VERSION) {
    throw new ProblemError(
      'upgrade-required',
      `protocol version ${claims.protocol_version} is not spoken here, only ${PROTOCOL_VERSION}`,
    );
  }
  const tokenId = await verifyEnrollmentToken(dispatch, claims.enrollment_token);
  const token = await findEnrollmentToken(ctx.db.orm, tokenId);
  if (!token || token.revoked_at) throw notEnrolled();
  const known = await findEnrolment(ctx.db.admin, { jkt: registration.jkt });
  const agentId = known ? await reboot(ctx, known, registration) : await enrol(ctx, token, registration);
  ctx.notifier.tell('changed', agentId);
  return {
    ...(await grantSession(dispatch.keys, ctx.clock, agentId, claims.boot_id)),
    heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
    lease_ttl_ms: LEASE_TTL_MS,
    poll_wait_ms: POLL_WAIT_MS,
  };
}

/** Sells an access token for a signed assertion; a new `boot_id` in it is a restart and fences the old life at once. */
export async function createAccessToken(
  ctx: Ctx,
  dispatch: Dispatch,
  { params, body }: InputOf<typeof contract.createAccessToken>,
): Promise<ResponseOf<typeof contract.createAccessToken>> {
  const known = await findEnrolment(ctx.db.admin, params);
  if (!known) throw new ProblemError('token-revoked', `agent ${params.agent_id} does not exist`);
  const claims = await verifyAssertion(body.assertion, known.public_jwk, params.agent_id, ctx.clock.now());
  await boot(ctx, known, { bootId: claims.boot_id, jti: claims.jti, exp: claims.exp });
  return grantSession(dispatch.keys, ctx.clock, known.agent_id, claims.boot_id);
}

async function verifyEnrollmentToken(dispatch: Dispatch, token: string): Promise<string> {
  const claims = await dispatch.keys.verify(token, ENROLLMENT_TYP);
  if (!claims?.jti) throw notEnrolled();
  return claims.jti;
}

async function enrol(ctx: Ctx, token: EnrollmentTokenRow, registration: Registration): Promise<string> {
  const { claims, jwk, jkt } = registration;
  withinEnrolment(claims, token.capabilities, token.max_slots);
  try {
    const created = await insertAgent(ctx.db.admin, {
      ...claims,
      agent_id: newId('agent'),
      jwk,
      jkt,
      enrollment_token_id: token.enrollment_token_id,
      lease_ttl_ms: LEASE_TTL_MS,
    });
    if (!created) throw notEnrolled();
    return created.agent_id;
  } catch (error) {
    // The same key registered twice at once: the second is the first one's new life.
    const known = sqlState(error) === UNIQUE_VIOLATION ? await findEnrolment(ctx.db.admin, { jkt }) : undefined;
    if (!known) throw error;
    return reboot(ctx, known, registration);
  }
}

async function reboot(ctx: Ctx, known: Enrolment, { claims }: Registration): Promise<string> {
  withinEnrolment(claims, known.enrolled_capabilities, known.enrolled_slots);
  const { boot_id: bootId, jti, exp, display_name, capabilities, slots, labels } = claims;
  await boot(ctx, known, { bootId, jti, exp, announcement: { display_name, capabilities, slots, labels } });
  return known.agent_id;
}

async function boot(
  ctx: Ctx,
  known: Enrolment,
  life: { bootId: string; jti: string; exp: number; announcement?: Announcement },
): Promise<void> {
  try {
    const booted = await bootAgent(ctx.db.admin, { agentId: known.agent_id, ...life });
    if (!booted) throw await cannotBoot(ctx, known.agent_id, life.bootId);
    ctx.notifier.tell('ready', booted.ready);
  } catch (error) {
    if (sqlState(error) === UNIQUE_VIOLATION)
      throw new ProblemError('invalid-token', `the jti ${life.jti} was used before`, { cause: error });
    throw error;
  }
}

async function cannotBoot(ctx: Ctx, agentId: string, bootId: string): Promise<ProblemError> {
  const state = await findAgentState(ctx.db.hot, agentId);
  if (state && state.mode !== 'REVOKED') {
    return new ProblemError('stale-lease', `${bootId} is over: agent ${agentId} has started again since`);
  }
  return new ProblemError('token-revoked', `agent ${agentId} was revoked`);
}

/** One answer for every cause: a stranger must not learn which. */
const notEnrolled = () =>
  new ProblemError('enrollment-token-invalid', 'the enrolment token is unknown, expired, revoked or used up');
