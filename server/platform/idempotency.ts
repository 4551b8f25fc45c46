import { createHash } from 'node:crypto';
import { ProblemError } from '@muster/shared/errors';

/** How long a request is remembered by its key, in hours. */
export const KEPT_HOURS = 24;

/** A key that a request is to count once by, and what the request was. */
export interface Once {
  idempotency_key: string;
  request_hash: string;
}

/** The key of a request, with a hash of what it asks for; undefined where it has none. */
export function onceOf(key: string | undefined, body: unknown): Once | undefined {
  if (key === undefined) return undefined;
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
    const detail = 'must be 1 to 255 printable ASCII characters';
    throw new ProblemError('validation-failed', `#/headers/idempotency-key ${detail}`, {
      errors: [{ pointer: '#/headers/idempotency-key', detail }],
    });
  }
  return {
    idempotency_key: key,
    request_hash: createHash('sha256').update(JSON.stringify(body)).digest('base64url'),
  };
}

/** The same key stands for another request than it did before. */
export const mismatch = (key: string): ProblemError =>
  new ProblemError('idempotency-mismatch', `the Idempotency-Key ${key} was used for a request with another body`);
