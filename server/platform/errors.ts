import { type FieldError, PROBLEMS, type Problem, ProblemError } from '@muster/shared/errors';
import type { z } from 'zod';
import type { Log } from './log.ts';
import { maskText } from './log-masking.ts';
import { storageProblem } from './storage-errors.ts';

/** Turns whatever a verb threw into a problem. What is nobody's fault but ours is logged, and told without its insides. */
export function toProblem(error: unknown, requestId: string, log: Log): Problem {
  const known = error instanceof ProblemError ? error : storageProblem(error);
  if (!known) log.error({ request_id: requestId, err: error }, 'unexpected error');
  // What is turned away for being too much is told so; a line for each would be too much again.
  else if (known.status >= 500 && (known.cause || known.code !== 'overloaded'))
    log.warn({ request_id: requestId, code: known.code, err: known.cause }, known.message);
  const problem = known ?? new ProblemError('internal', `the request failed; the log has it under ${requestId}`);
  return {
    type: `https://muster.dev/problems/${problem.code}`,
    title: PROBLEMS[problem.code].title,
    status: problem.status,
    ...told(problem),
    request_id: requestId,
  };
}

/** What a problem says of itself. What a caller put in the wrong place is not sent back, for whoever reads along. */
export const told = ({ message, code, errors }: ProblemError): Pick<Problem, 'detail' | 'code' | 'errors'> => ({
  detail: maskText(message),
  code,
  ...(errors ? { errors: errors.map(maskError) } : {}),
});

const maskError = ({ pointer, detail }: FieldError): FieldError => ({
  pointer: maskText(pointer),
  detail: maskText(detail),
});

/** How many fields an answer names at most, and in how many characters: it is no place to send a body back. */
const NAMED = 20;
const NAMED_CHARACTERS = 2_048;

/** The problem of a part of a request that does not fit its schema. `base` is `#` for the body, `#/query` for the query. */
export function invalid(base: string, issues: readonly z.core.$ZodIssue[]): ProblemError {
  const all = issues.flatMap((issue) => fieldErrors(base, issue));
  const first = all[0]!;
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : '';
  return new ProblemError('validation-failed', `${first.pointer} ${first.detail}${more}`, { errors: named(all) });
}

/** Of the fields that are wrong as many as an answer names. */
export function named(all: readonly FieldError[]): FieldError[] {
  let room = NAMED_CHARACTERS;
  return all.slice(0, NAMED).filter((error, n) => {
    room -= JSON.stringify(error).length;
    return room >= 0 || n === 0;
  });
}

/** A key as a part of a JSON Pointer (RFC 6901); of a long one the beginning. */
export const pointerPart = (key: PropertyKey): string =>
  String(key).slice(0, 80).replaceAll('~', '~0').replaceAll('/', '~1');

function fieldErrors(base: string, issue: z.core.$ZodIssue): { pointer: string; detail: string }[] {
  const at = (path: readonly PropertyKey[]) => [base, ...path.map(pointerPart)].join('/');
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ pointer: at([...issue.path, key]), detail: 'is not a known field' }));
  if (issue.code === 'invalid_union') {
    // What was meant is the one of which only a part is wrong.
    const meant = issue.errors.filter((of) =>
      of.every(({ path, code }) => path.length > 0 || code === 'unrecognized_keys'),
    );
    if (meant.length === 1) return meant[0]!.flatMap((inner) => fieldErrors(at(issue.path), inner));
  }
  return [{ pointer: at(issue.path), detail: issue.message }];
}
