import { ProblemError } from '@muster/shared/errors';

/** Entity tags, and nothing but commas and blanks between them (RFC 9110, 13.1.1). */
const TAGS = /^(?:[ \t,]*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"[ \t]*(?=,|$))+[ \t,]*$/;

/** The version of a thing as its ETag. */
export const etagOf = (version: unknown): string => `"${version}"`;

/**
 * Refuses to change a thing whose version is none the caller has seen: `ifMatch` is the header If-Match as it came. Without one, and by `*`,
 * any will do. A weak tag never matches, as RFC 9110 has it.
 */
export function refuseChanged(ifMatch: string | undefined, thing: string, version: number): void {
  if (ifMatch === undefined || ifMatch.trim() === '*') return;
  if (!TAGS.test(ifMatch)) {
    const detail = 'must be * or entity tags, such as "3"';
    throw new ProblemError('validation-failed', `#/headers/if-match ${detail}`, {
      errors: [{ pointer: '#/headers/if-match', detail }],
    });
  }
  const seen = [...ifMatch.matchAll(/(W\/)?("[^"]*")/g)].filter(([, weak]) => !weak).map(([, , tag]) => tag);
  if (seen.includes(etagOf(version))) return;
  throw new ProblemError(
    'precondition-failed',
    `${thing} is of version ${etagOf(version)}, not ${ifMatch.slice(0, 80)}`,
  );
}
