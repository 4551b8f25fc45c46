import { ProblemError } from '@muster/shared/errors';

/** A query parameter that is `key=value`; undefined where it is left out. */
export function pairIn(parameter: string, text: string | undefined): { key: string; value: string } | undefined {
  if (text === undefined) return undefined;
  const at = text.indexOf('=');
  if (at > 0) return { key: text.slice(0, at), value: text.slice(at + 1) };
  throw new ProblemError('validation-failed', `#/query/${parameter} is not key=value`, {
    errors: [{ pointer: `#/query/${parameter}`, detail: 'is not key=value' }],
  });
}
