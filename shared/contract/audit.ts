import { z } from 'zod';
import { endpoint } from './endpoint.ts';
import { instant, json, owner, page, pageQuery, text, timestamp } from './fields.ts';

const auditLog = z.object({
  audit_id: z.int(),
  at: timestamp,
  action: z.string(),
  actor: z.string().describe('The id of the API key, or `admin` for the one of the settings'),
  address: z.string().nullable(),
  request_id: z.string(),
  owner: z.string().describe('Whose thing was changed'),
  subject_id: z.string(),
  before: json,
  after: json,
  seal: z.int().nullable().describe('The link of the chain that covers it; null for the second until there is one'),
});

export const listAuditLogs = endpoint({
  method: 'GET',
  path: '/ains/audit-logs',
  tag: 'Audit',
  summary: 'Who changed what, newest first',
  principals: ['key'],
  scope: 'audit:read',
  ownership: 'list',
  query: z.strictObject({
    action: text(64).optional(),
    actor: text(64).optional(),
    subject_id: text(64).optional(),
    owner: owner.optional(),
    from: instant.optional(),
    to: instant.optional(),
    ...pageQuery,
  }),
  response: page(auditLog),
});
const head = z.object({
  seal: z.int(),
  hash: z.string(),
  signature: z.string(),
  kid: z.string(),
  sealed_at: timestamp,
});
export const verifyAuditLogs = endpoint({
  method: 'GET',
  path: '/ains/audit-logs/verify',
  tag: 'Audit',
  summary: 'Check the chain over the audit log, against a head somebody kept where one is given',
  principals: ['key'],
  // Of every owner's rows at once, so only an admin's key will do.
  scope: 'admin',
  ownership: 'none',
  // A long chain takes its time.
  waits: true,
  query: z
    .strictObject({
      seal: z.coerce.number().int().min(1).optional().describe('The number of a seal that was the head once'),
      hash: z
        .string()
        .regex(/^[0-9a-f]{64}$/, { error: 'must be 64 hex digits' })
        .optional()
        .describe('Its hash'),
    })
    .refine((query) => (query.seal === undefined) === (query.hash === undefined), {
      // Of a number that is none, that alone is to be said.
      when: ({ issues }) => issues.length === 0,
      path: ['hash'],
      error: 'goes with seal, and seal with it',
    }),
  response: z.object({
    valid: z.boolean(),
    seals: z.int(),
    rows: z.int(),
    unsealed: z.int(),
    head: head.nullable(),
    problems: z.array(z.object({ seal: z.int(), detail: z.string() })),
  }),
});
