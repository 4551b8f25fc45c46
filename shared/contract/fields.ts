import { z } from 'zod';
import { type IdPrefix, idPattern } from '../ids.ts';

/** An id of one kind. A wrong one in a path answers `invalid-id`. */
export const id = (prefix: IdPrefix) =>
  z
    .string()
    .regex(idPattern(prefix), { error: `must be an id that starts with ${prefix}_` })
    .meta({ examples: [`${prefix}_…`] });

/** A time on the wire: RFC 3339, UTC, milliseconds. */
export const timestamp = z.iso.datetime({ offset: true }).meta({ format: 'date-time' });
export const nullableTimestamp = timestamp.nullable();

/** A time as somebody sends it, in any offset; what is stored and shown is UTC. */
export const instant = timestamp
  .refine((text) => /^(19[7-9]|[2-9]\d\d)\d-/.test(text) && !Number.isNaN(Date.parse(text)), {
    error: 'must be a time from 1970 on, with an offset of less than a day',
  })
  .transform((text) => new Date(text).toISOString())
  .refine((text) => /^(19[7-9]|[2-9]\d\d)\d-/.test(text), { error: 'must be a time between 1970 and 9999, in UTC' });

/** A JSON value of any shape; what it means is between submitter and agent. It passes as it is: the edge has seen that it can be stored. */
export const json = z
  .custom<Json>((value) => value !== undefined, { error: 'is required' })
  .meta({ description: 'any JSON value' });
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** Free text of limited length. */
export const text = (max: number) => z.string().max(max);
const name = (max: number) => z.string().min(1).max(max);

/** `word-count` or `word-count:v1`. */
export const capability = name(128).regex(/^[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9][A-Za-z0-9._-]*)?$/, {
  error: 'must be a name, or name:version, of letters, digits, dots, dashes and underscores',
});
export const taskType = name(128).regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, {
  error: 'must be a name of letters, digits, dots, dashes and underscores',
});
export const capabilities = z.array(capability).min(1).max(100);
export const displayName = name(128);
/** A display name, in which `*` stands for any characters. */
export const namePattern = name(128);
/** SHA-256 or an Ed25519 public key: 32 bytes in base64url. */
export const thumbprint = z
  .string()
  .regex(/^[A-Za-z0-9_-]{43}$/, { error: 'must be 32 bytes in base64url' })
  .meta({ examples: ['kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'] });
export const owner = name(64).regex(/^[A-Za-z0-9][A-Za-z0-9._@-]*$/, {
  error: 'must be a name of letters, digits, dots, dashes, @ and underscores',
});
export const labels = z
  .record(name(64), text(256))
  .refine((value) => Object.keys(value).length <= 32, { error: 'must have at most 32 entries' });
/** Labels an agent is to have: few, because every combination of them is matched on its own. */
export const labelsOfAgents = z
  .record(name(64), text(256))
  .refine((value) => Object.keys(value).length <= 8, { error: 'must have at most 8 entries' });
export const tags = z.array(name(64)).max(32);
const isObject = (value: unknown): value is Record<string, Json> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const metadata = z
  .custom<Record<string, Json>>(isObject, { error: 'must be an object' })
  .refine((value) => Object.keys(value).length <= 64, { error: 'must have at most 64 entries' })
  .refine((value) => Object.keys(value).every((key) => key.length > 0 && key.length <= 64), {
    error: 'must have names of 1 to 64 characters',
  })
  .meta({ type: 'object', maxProperties: 64 });
export const priority = z.int().min(1).max(10);
export const slots = z.int().min(1).max(10_000);
export const fence = z.int().positive();

/** `?dry_run=true`: say what would be done, and do nothing. */
export const dryRun = z
  .stringbool({ truthy: ['true'], falsy: ['false'], error: 'must be true or false' })
  .default(false)
  .meta({ type: 'boolean' });

/** One page of a list, and how to ask for it. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(512).optional(),
};
export const page = <T extends z.ZodType>(item: T) =>
  z.object({ data: z.array(item), next_cursor: z.string().nullable() });

/** An error as a run reports it. `fault` says whose it was; `retryable: false` ends the retries. */
export const runError = z.strictObject({
  message: text(10_000),
  code: text(128).optional(),
  fault: z.enum(['agent', 'task']).optional(),
  retryable: z.boolean().optional(),
});

/** What a run took, as its agent measured it: what it cannot tell it leaves out. */
export const usage = z.strictObject({
  cpu_ms: z.int().min(0).optional().describe('Processor time, user and system'),
  max_rss_bytes: z.int().min(0).optional().describe('The most memory its largest process held'),
});
export type Usage = z.output<typeof usage>;
