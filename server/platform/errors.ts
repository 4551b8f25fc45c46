import { PROBLEMS, type Problem, ProblemError } from '@muster/shared/errors';
import type { z } from 'zod';
import type { Log } from './log.ts';
import { storageProblem } from './storage-errors.ts';

/** Turns whatever a verb threw into a problem. What is nobody's fault but ours is logged, and told without its insides. */
export function toProblem(error: unknown, requestId: string, log: Log): Problem {
  const known = error instanceof ProblemError ? error : storageProblem(error);
  if (!known) log.error({ request_id: requestId, err: error }, 'unexpected error');
  else if (known.status >= 500) log.warn({ request_id: requestId, code: known.code, err: known.cause }, known.message);
  const problem = known ?? new ProblemError('internal', `the request failed; the log has it under ${requestId}`);
  return {
    type: `https://muster.dev/problems/${problem.code}`,
    title: PROBLEMS[problem.code].title,
    status: problem.status,
    detail: problem.message,
    code: problem.code,
    ...(problem.errors ? { errors: problem.errors } : {}),
    request_id: requestId,
  };
}

/** The problem of a part of a request that does not fit its schema. `base` is `#` for the body, `#/query` for the query. */
export function invalid(base: string, issues: readonly z.core.$ZodIssue[]): ProblemError {
  const errors = issues.flatMap((issue) => fieldErrors(base, issue)).slice(0, 100);
  const first = errors[0]!;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new ProblemError('validation-failed', `${first.pointer} ${first.detail}${more}`, { errors });
}

function fieldErrors(base: string, issue: z.core.$ZodIssue): { pointer: string; detail: string }[] {
  const at = (path: readonly PropertyKey[]) =>
    [base, ...path.map((key) => String(key).replaceAll('~', '~0').replaceAll('/', '~1'))].join('/');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys
      .slice(0, 20)
      .map((key) => ({ pointer: at([...issue.path, key.slice(0, 128)]), detail: 'is not a known field' }));
  }
  return [{ pointer: at(issue.path), detail: issue.message }];
}
