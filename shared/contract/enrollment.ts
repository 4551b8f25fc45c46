import { z } from 'zod';
import { endpoint } from './endpoint.ts';
import {
  capabilities,
  id,
  namePattern,
  nullableTimestamp,
  owner,
  page,
  pageQuery,
  slots,
  thumbprint,
  timestamp,
} from './fields.ts';

const enrollmentToken = z.object({
  enrollment_token_id: id('enroll'),
  capabilities: z.array(z.string()).nullable(),
  name_pattern: z.string().nullable(),
  max_slots: z.int().nullable(),
  key_thumbprint: z.string().nullable(),
  max_uses: z.int(),
  uses: z.int(),
  owner: z.string(),
  serves: z.enum(['all', 'owner']),
  expires_at: timestamp,
  revoked_at: nullableTimestamp,
  created_at: timestamp,
});

export const createEnrollmentToken = endpoint({
  method: 'POST',
  path: '/ains/enrollment-tokens',
  tag: 'Enrolment',
  summary: 'Make a token that lets agents register',
  principals: ['key'],
  scope: 'agents:admin',
  ownership: 'new',
  audit: 'enrollment_token.create',
  status: 201,
  body: z.strictObject({
    capabilities: capabilities.optional().describe('What agents may claim to do; left out: anything'),
    name_pattern: namePattern
      .optional()
      .describe('What agents must be named, `*` for any characters; left out: anything'),
    max_slots: slots.optional(),
    key_thumbprint: thumbprint.optional().describe('The one key that may register with it (RFC 7638, SHA-256)'),
    max_uses: z.int().min(1).max(100_000).default(1),
    ttl_seconds: z
      .int()
      .min(1)
      .max(86_400 * 90)
      .default(900),
    owner: owner.optional(),
    serves: z.enum(['all', 'owner']).optional(),
  }),
  response: z.object({ enrollment_token_id: id('enroll'), enrollment_token: z.string(), expires_at: timestamp }),
});
export const listEnrollmentTokens = endpoint({
  method: 'GET',
  path: '/ains/enrollment-tokens',
  tag: 'Enrolment',
  summary: 'List enrolment tokens, without their secret',
  principals: ['key'],
  scope: 'agents:admin',
  ownership: 'list',
  query: z.strictObject(pageQuery),
  response: page(enrollmentToken),
});
export const getEnrollmentToken = endpoint({
  method: 'GET',
  path: '/ains/enrollment-tokens/{enrollment_token_id}',
  tag: 'Enrolment',
  summary: 'Look at an enrolment token',
  principals: ['key'],
  scope: 'agents:admin',
  ownership: 'path',
  params: z.object({ enrollment_token_id: id('enroll') }),
  response: enrollmentToken,
  problems: ['not-found'],
});
export const revokeEnrollmentToken = endpoint({
  method: 'DELETE',
  path: '/ains/enrollment-tokens/{enrollment_token_id}',
  tag: 'Enrolment',
  summary: 'Revoke an enrolment token',
  principals: ['key'],
  scope: 'agents:admin',
  ownership: 'path',
  audit: 'enrollment_token.revoke',
  params: z.object({ enrollment_token_id: id('enroll') }),
  response: enrollmentToken,
  problems: ['not-found'],
});
