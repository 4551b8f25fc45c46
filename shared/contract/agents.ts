import { z } from 'zod';
import { AGENT_MODE, AGENT_STATUSES, STANDING, states } from '../lifecycle.ts';
import { endpoint } from './endpoint.ts';
import {
  capabilities,
  capability,
  displayName,
  id,
  labels,
  nullableTimestamp,
  page,
  pageQuery,
  slots,
  text,
  thumbprint,
  timestamp,
} from './fields.ts';

/** What an agent-signed registration JWT claims (header: alg EdDSA, typ agent-registration+jwt, jwk). */
export const registrationClaims = z.strictObject({
  aud: z.literal('muster'),
  iat: z.int(),
  exp: z.int(),
  jti: z.string().min(8).max(128),
  enrollment_token: z.string().max(8_192),
  boot_id: id('boot'),
  protocol_version: z.int(),
  display_name: displayName,
  capabilities,
  slots,
  labels: labels.default({}),
});
export type RegistrationClaims = z.output<typeof registrationClaims>;

/** What an agent claims in everything it signs about itself once it is registered. */
const ownWord = {
  iss: id('agent'),
  sub: id('agent'),
  aud: z.literal('muster'),
  iat: z.int(),
  exp: z.int(),
  jti: z.string().min(8).max(128),
};

/** What a key rotation claims (header: alg EdDSA, typ agent-key-rotation+jwt), signed by the key the agent has. */
export const rotationClaims = z.strictObject({
  ...ownWord,
  boot_id: id('boot'),
  new_jwk: z.strictObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: thumbprint }),
});
export type RotationClaims = z.output<typeof rotationClaims>;

/** What the new key signs for it (header: alg EdDSA, typ agent-key-confirmation+jwt): `rotation_hash` is the rotation's SHA-256, base64url. */
export const confirmationClaims = z.strictObject({
  ...ownWord,
  rotation_hash: thumbprint,
});
export type ConfirmationClaims = z.output<typeof confirmationClaims>;

/** What an assertion claims (header: alg EdDSA, typ agent-assertion+jwt). A new `boot_id` is a restart. */
export const assertionClaims = z.strictObject({
  ...ownWord,
  boot_id: id('boot'),
});
export type AssertionClaims = z.output<typeof assertionClaims>;

export const agent = z.object({
  agent_id: id('agent'),
  display_name: z.string(),
  owner: z.string(),
  serves: z.enum(['all', 'owner']),
  capabilities: z.array(z.string()),
  labels: z.record(z.string(), z.string()),
  slots: z.int(),
  slots_used: z.int(),
  status: z.enum(AGENT_STATUSES),
  health: z.enum(['OK', 'DEGRADED']),
  mode: z.enum(states(AGENT_MODE)),
  anchor: z.boolean().describe('An admin vouches for it: what it says is taken for right'),
  trust_score: z.number(),
  standing: z.enum(states(STANDING)).describe('The worst it has in anything that others looked at'),
  quarantined_until: nullableTimestamp,
  boot_id: z.string(),
  last_seen_at: nullableTimestamp,
  lease_expires_at: nullableTimestamp,
  created_at: timestamp,
  updated_at: timestamp,
});
export type Agent = z.output<typeof agent>;

const agentParams = z.object({ agent_id: id('agent') });
const session = {
  agent_id: id('agent'),
  access_token: z.string(),
  access_token_expires_at: timestamp,
  token_type: z.enum(['Bearer', 'DPoP']).describe('DPoP: every use needs a proof of the key (RFC 9449)'),
};

export const registerAgent = endpoint({
  method: 'POST',
  path: '/ains/agents',
  tag: 'Agents',
  summary: 'Register an agent by a JWT it signed itself',
  principals: ['public'],
  vital: true,
  status: 201,
  body: z.strictObject({ registration: z.string().max(16_384) }),
  response: z.object({
    ...session,
    heartbeat_interval_ms: z.int(),
    lease_ttl_ms: z.int(),
    poll_wait_ms: z.int(),
  }),
  problems: [
    'invalid-token',
    'invalid-proof',
    'enrollment-token-invalid',
    'token-revoked',
    'stale-lease',
    'upgrade-required',
    'insufficient-scope',
    'rate-limited',
  ],
});
export const createAccessToken = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/token',
  tag: 'Agents',
  summary: 'Buy an access token with a signed assertion',
  principals: ['public'],
  vital: true,
  params: agentParams,
  body: z.strictObject({ assertion: z.string().max(8_192) }),
  response: z.object(session),
  problems: ['invalid-token', 'invalid-proof', 'token-revoked', 'stale-lease', 'rate-limited'],
});
export const rotateAgentKey = endpoint({
  method: 'POST',
  path: '/ains/agents/{agent_id}/rotate-key',
  tag: 'Agents',
  summary: 'Give an agent a new key, by word of the old one and of the new: tokens bought with the old one end',
  principals: ['public'],
  vital: true,
  params: agentParams,
  body: z.strictObject({ rotation: z.string().max(8_192), confirmation: z.string().max(8_192) }),
  response: z.object(session),
  problems: ['invalid-token', 'invalid-proof', 'token-revoked', 'stale-lease', 'conflict'],
});
export const listAgents = endpoint({
  method: 'GET',
  path: '/ains/agents',
  tag: 'Agents',
  summary: 'List agents, newest first',
  principals: ['key'],
  scope: 'agents:read',
  ownership: 'list',
  query: z.strictObject({
    status: z.enum(AGENT_STATUSES).optional(),
    mode: z.enum(states(AGENT_MODE)).optional(),
    capability: capability.optional(),
    ...pageQuery,
  }),
  response: page(agent),
});
export const getAgent = endpoint({
  method: 'GET',
  path: '/ains/agents/{agent_id}',
  tag: 'Agents',
  summary: 'Look at an agent',
  principals: ['key', 'agent'],
  scope: 'agents:read',
  ownership: 'path',
  params: agentParams,
  response: agent,
  problems: ['not-found'],
});
export const updateAgent = endpoint({
  method: 'PATCH',
  path: '/ains/agents/{agent_id}',
  tag: 'Agents',
  summary: 'Change how an agent is named, labelled and sized',
  principals: ['key', 'agent'],
  scope: 'agents:admin',
  ownership: 'path',
  audit: 'agent.update',
  params: agentParams,
  body: z
    .strictObject({
      display_name: displayName.optional(),
      labels: labels.optional(),
      slots: slots.optional(),
      anchor: z.boolean().optional().describe('Whether an admin vouches for it; only an admin says so'),
    })
    .refine((body) => Object.keys(body).length > 0, { error: 'must change something' }),
  response: agent,
  problems: ['not-found', 'insufficient-scope'],
});
export const deleteAgent = endpoint({
  method: 'DELETE',
  path: '/ains/agents/{agent_id}',
  tag: 'Agents',
  summary: 'Revoke an agent: its tokens end and what it holds is re-queued',
  principals: ['key'],
  scope: 'agents:admin',
  ownership: 'path',
  audit: 'agent.revoke',
  params: agentParams,
  response: agent,
  problems: ['not-found'],
});
const modeVerb = <const V extends 'cordon' | 'uncordon' | 'drain'>(verb: V, summary: string) =>
  endpoint({
    method: 'POST',
    path: `/ains/agents/{agent_id}/${verb}` as const,
    tag: 'Agents',
    summary,
    principals: ['key'],
    scope: 'agents:admin',
    ownership: 'path',
    audit: `agent.${verb}` as const,
    params: agentParams,
    response: agent,
    problems: ['not-found', 'conflict'],
  });
export const cordonAgent = modeVerb('cordon', 'Give an agent no new work');
export const uncordonAgent = modeVerb('uncordon', 'Give an agent work again');
export const drainAgent = modeVerb('drain', 'Let an agent finish what it has, then leave');
const capabilityList = z.object({ agent_id: id('agent'), capabilities: z.array(z.string()) });
export const getCapabilities = endpoint({
  method: 'GET',
  path: '/ains/agents/{agent_id}/capabilities',
  tag: 'Agents',
  summary: 'What an agent can do',
  principals: ['key', 'agent'],
  scope: 'agents:read',
  ownership: 'path',
  params: agentParams,
  response: capabilityList,
  problems: ['not-found'],
});
export const putCapabilities = endpoint({
  method: 'PUT',
  path: '/ains/agents/{agent_id}/capabilities',
  tag: 'Agents',
  summary: 'Say what an agent can do, within its enrolment',
  principals: ['key', 'agent'],
  scope: 'agents:admin',
  ownership: 'path',
  audit: 'agent.update',
  params: agentParams,
  body: z.strictObject({ capabilities }),
  response: capabilityList,
  problems: ['not-found', 'insufficient-scope'],
});
export const searchAgents = endpoint({
  method: 'GET',
  path: '/ains/search',
  tag: 'Agents',
  summary: 'Find agents by what they can do, how far they are trusted, and labels',
  principals: ['key'],
  scope: 'agents:read',
  ownership: 'list',
  query: z.strictObject({
    capability: capability.optional(),
    q: text(128).optional().describe('Part of the display name'),
    label: text(321).optional().describe('key=value'),
    min_trust: z.coerce.number().min(0).max(1).optional(),
    status: z.enum(AGENT_STATUSES).optional(),
    sort_by: z.enum(['trust_score', 'created_at']).default('trust_score'),
    ...pageQuery,
  }),
  response: page(agent),
});
