import * as contract from '@muster/shared/contract/agents';
import type { Endpoint, InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { ENROLLMENT_TYP } from '../agents/enrollment.ts';
import { withinEnrolment } from '../agents/limits.ts';
import { type Registration, verifyAssertion, verifyRegistration } from '../agents/proofs.ts';
import { grantSession, type Holder, type Session } from '../agents/session.ts';
import {
  type Enrolment,
  findEnrolment,
  findEnrolmentByKey,
  findInvitation,
  type Invitation,
} from '../agents/store/enrolment.ts';
import { insertAgent } from '../agents/store/write.ts';
import type { Ctx } from '../platform/ctx.ts';
import { constraintOf, isUniqueViolation } from '../platform/storage-errors.ts';
import type { Dispatch } from './dispatch.ts';
import { bootAgent, type Life } from './store/boot.ts';
import { HEARTBEAT_INTERVAL_MS, LEASE_TTL_MS } from './store/heartbeat.ts';

/** The version of the agent protocol spoken here. */
const PROTOCOL_VERSION = 1;
/** How long agents are told to let a poll wait, in milliseconds. */
const POLL_WAIT_MS = 25_000;
/** How often a minute an agent may begin a new life: each leaves a row for good. One that crashes at every start and waits a second stays below. */
const RESTARTS_PER_MINUTE = 60;

/** An agent that is in, and whose tokens are of which epoch. */
type Admitted = Pick<Holder, 'agent_id' | 'token_epoch'>;

/** Registers an agent. A key that is known is the same agent, in a new life. */
export async function registerAgent(
  ctx: Ctx,
  dispatch: Dispatch,
  { body }: InputOf<typeof contract.registerAgent>,
): Promise<ResponseOf<typeof contract.registerAgent>> {
  const registration = await verifyRegistration(body.registration, ctx.clock.now());
  const { claims, jkt } = registration;
  if (claims.protocol_version !== PROTOCOL_VERSION) {
    throw new ProblemError(
      'upgrade-required',
      `protocol version ${claims.protocol_version} is not spoken here, only ${PROTOCOL_VERSION}`,
    );
  }
  const bound = await keyToBind(ctx, dispatch, contract.registerAgent, jkt);
  const tokenId = await verifyEnrollmentToken(dispatch, claims.enrollment_token);
  const found = await findInvitation(ctx.db.admin, tokenId, jkt);
  if (!found || (found.invitation.key_thumbprint ?? jkt) !== jkt) throw notEnrolled();
  const { invitation, agent } = found;
  const admitted = agent
    ? await reboot(ctx, dispatch, agent, registration)
    : await enrol(ctx, dispatch, invitation, registration);
  ctx.notifier.tell('changed', admitted.agent_id);
  return {
    ...(await grantSession(dispatch.keys, ctx.clock, { ...admitted, boot_id: claims.boot_id, jkt: bound })),
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
): Promise<Session> {
  const known = await findEnrolment(ctx.db.admin, params.agent_id);
  if (!known) throw new ProblemError('token-revoked', `agent ${params.agent_id} does not exist`);
  const claims = await verifyAssertion(body.assertion, known.public_jwk, params.agent_id, ctx.clock.now());
  const { boot_id, jti, exp } = claims;
  const bound = await keyToBind(ctx, dispatch, contract.createAccessToken, known.jkt, params);
  const admitted = await boot(ctx, dispatch, known, {
    agentId: known.agent_id,
    bootId: boot_id,
    jkt: known.jkt,
    jti,
    exp,
  });
  return grantSession(dispatch.keys, ctx.clock, { ...admitted, boot_id, jkt: bound });
}

/** The key a session is bound to: the agent's, where the request brings a proof of it. */
export async function keyToBind(
  { proof, config }: Ctx,
  { proofs }: Dispatch,
  { method, path }: Endpoint,
  jkt: string,
  params: { agent_id?: string } = {},
): Promise<string | undefined> {
  if (proof === undefined && !config.requireDpop) return undefined;
  await proofs.check(proof, { method, path: path.replace('{agent_id}', params.agent_id ?? ''), jkt });
  return jkt;
}

async function verifyEnrollmentToken(dispatch: Dispatch, token: string): Promise<string> {
  const claims = await dispatch.keys.verify(token, ENROLLMENT_TYP);
  if (!claims?.jti) throw notEnrolled();
  return claims.jti;
}

async function enrol(
  ctx: Ctx,
  dispatch: Dispatch,
  invitation: Invitation,
  registration: Registration,
): Promise<Admitted> {
  const { claims, jwk, jkt } = registration;
  withinEnrolment(claims, invitation);
  try {
    const created = await insertAgent(ctx.db.admin, {
      ...claims,
      agent_id: newId('agent'),
      jwk,
      jkt,
      enrollment_token_id: invitation.enrollment_token_id,
      lease_ttl_ms: LEASE_TTL_MS,
    });
    if (created) return created;
  } catch (error) {
    if (constraintOf(error) === 'used_jtis_once') throw usedBefore(claims.jti, error);
    if (!isUniqueViolation(error)) throw error;
  }
  // The same key registered twice at once, perhaps for the last use: the second is the first one's new life.
  const known = await findEnrolmentByKey(ctx.db.admin, jkt);
  if (!known) throw notEnrolled();
  return reboot(ctx, dispatch, known, registration);
}

async function reboot(ctx: Ctx, dispatch: Dispatch, known: Enrolment, { claims }: Registration): Promise<Admitted> {
  withinEnrolment(claims, known);
  const { boot_id: bootId, jti, exp, display_name, capabilities, slots, labels } = claims;
  const announcement = { display_name, capabilities, slots, labels };
  return boot(ctx, dispatch, known, { agentId: known.agent_id, bootId, jkt: known.jkt, jti, exp, announcement });
}

async function boot(ctx: Ctx, { restarts }: Dispatch, known: Enrolment, life: Life): Promise<Admitted> {
  if (known.boot_id !== life.bootId) await restarts.take(life.agentId, RESTARTS_PER_MINUTE);
  try {
    const booted = await bootAgent(ctx.db.admin, life);
    if (!booted) throw await cannotBoot(ctx, life);
    ctx.notifier.tell('ready', booted.ready);
    return { agent_id: life.agentId, token_epoch: booted.token_epoch };
  } catch (error) {
    throw isUniqueViolation(error) ? usedBefore(life.jti, error) : error;
  }
}

/** Why a life cannot begin, or a key not change. */
export async function cannotBoot(
  ctx: Ctx,
  { agentId, bootId, jkt }: Pick<Life, 'agentId' | 'bootId' | 'jkt'>,
): Promise<ProblemError> {
  const known = await findEnrolment(ctx.db.admin, agentId);
  if (!known || known.mode === 'REVOKED') return new ProblemError('token-revoked', `agent ${agentId} was revoked`);
  if (known.jkt !== jkt) return new ProblemError('invalid-token', `agent ${agentId} has another key by now`);
  return new ProblemError('stale-lease', `${bootId} is over: agent ${agentId} has started again since`);
}

const usedBefore = (jti: string, cause: unknown) =>
  new ProblemError('invalid-token', `the jti ${jti} was used before`, { cause });

/** One answer for every cause: a stranger must not learn which. */
const notEnrolled = () =>
  new ProblemError('enrollment-token-invalid', 'the enrolment token is unknown, expired, revoked or used up');
