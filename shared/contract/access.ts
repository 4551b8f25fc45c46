import { z } from 'zod';
import { endpoint } from './endpoint.ts';
import { id, instant, nullableTimestamp, owner, page, pageQuery, text, timestamp } from './fields.ts';
import { SCOPES } from './scopes.ts';

/** How many requests a minute a key may make unless said. */
export const REQUESTS_PER_MINUTE = 6_000;

const apiKey = z.object({
  api_key_id: id('key'),
  name: z.string(),
  owner: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  allowed_addresses: z.array(z.string()).nullable(),
  requests_per_minute: z.int(),
  uses: z.int(),
  last_used_at: nullableTimestamp,
  expires_at: nullableTimestamp,
  revoked_at: nullableTimestamp,
  created_at: timestamp,
  updated_at: timestamp,
});
/** A key in the moment it is made: the only one in which the key itself is told. */
const madeKey = apiKey.extend({ api_key: z.string() });

const isRange = (value: string) =>
  [z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()].some((it) => it.safeParse(value).success);
const addressRange = text(64)
  .refine(isRange, { error: 'must be an address or a range of them, as 10.0.0.0/8' })
  .meta({ examples: ['10.0.0.0/8'] });

const keyParams = z.object({ api_key_id: id('key') });
const settings = {
  name: text(128).min(1),
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
  allowed_addresses: z
    .array(addressRange)
    .min(1)
    .max(64)
    .describe('Addresses and CIDR ranges it may be used from; left out: anywhere'),
  requests_per_minute: z.int().min(1).max(10_000_000),
  expires_at: instant,
};

export const createApiKey = endpoint({
  method: 'POST',
  path: '/ains/api-keys',
  tag: 'API keys',
  summary: 'Make an API key; it is shown this once',
  principals: ['key'],
  scope: 'keys:admin',
  ownership: 'new',
  audit: 'api_key.create',
  status: 201,
  body: z.strictObject({
    name: settings.name,
    scopes: settings.scopes,
    owner: owner.optional().describe('Whose things it is for; the owner of the key that makes it unless said'),
    allowed_addresses: settings.allowed_addresses.optional(),
    requests_per_minute: settings.requests_per_minute.optional(),
    expires_at: settings.expires_at.optional(),
  }),
  response: madeKey,
});
export const listApiKeys = endpoint({
  method: 'GET',
  path: '/ains/api-keys',
  tag: 'API keys',
  summary: 'List API keys, newest first, without their secret',
  principals: ['key'],
  scope: 'keys:admin',
  ownership: 'list',
  query: z.strictObject({ owner: owner.optional(), ...pageQuery }),
  response: page(apiKey),
});
export const getApiKey = endpoint({
  method: 'GET',
  path: '/ains/api-keys/{api_key_id}',
  tag: 'API keys',
  summary: 'Look at an API key',
  principals: ['key'],
  scope: 'keys:admin',
  ownership: 'path',
  params: keyParams,
  response: apiKey,
  problems: ['not-found'],
});
export const updateApiKey = endpoint({
  method: 'PATCH',
  path: '/ains/api-keys/{api_key_id}',
  tag: 'API keys',
  summary: 'Change what an API key is for',
  principals: ['key'],
  scope: 'keys:admin',
  ownership: 'path',
  audit: 'api_key.update',
  params: keyParams,
  body: z
    .strictObject({
      name: settings.name.optional(),
      scopes: settings.scopes.optional(),
      allowed_addresses: settings.allowed_addresses.nullable().optional(),
      requests_per_minute: settings.requests_per_minute.optional(),
      expires_at: settings.expires_at.nullable().optional(),
    })
    .refine((body) => Object.keys(body).length > 0, { error: 'must change something' }),
  response: apiKey,
  problems: ['not-found', 'conflict'],
});
export const rotateApiKey = endpoint({
  method: 'POST',
  path: '/ains/api-keys/{api_key_id}/rotate',
  tag: 'API keys',
  summary: 'Give an API key a new secret; the old one ends at once, or after a while',
  principals: ['key'],
  scope: 'keys:admin',
  ownership: 'path',
  audit: 'api_key.rotate',
  params: keyParams,
  body: z
    .strictObject({
      overlap_seconds: z.int().min(0).max(86_400).default(0).describe('How long the old secret is still good for'),
    })
    .default({ overlap_seconds: 0 }),
  bodyOptional: true,
  response: madeKey,
  problems: ['not-found', 'conflict'],
});
export const revokeApiKey = endpoint({
  method: 'DELETE',
  path: '/ains/api-keys/{api_key_id}',
  tag: 'API keys',
  summary: 'Revoke an API key, at once',
  principals: ['key'],
  scope: 'keys:admin',
  ownership: 'path',
  audit: 'api_key.revoke',
  params: keyParams,
  response: apiKey,
  problems: ['not-found'],
});
