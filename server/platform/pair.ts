import { ProblemError } from '@muster/shared/errors';

/** A field that is `key=value`, by its pointer; undefined where it is left out. */
export function pairIn(pointer: string, text: string | undefined): { key: string; value: string } | undefined {
  if (text === undefined) return undefined;
  const at = text.indexOf('=');
  if (at > 0) return { key: text.slice(0, at), value: text.slice(at + 1) };
  throw new ProblemError('validation-failed', `${pointer} is not key=value`, {
    errors: [{ pointer, detail: 'is not key=value' }],
  });
}
