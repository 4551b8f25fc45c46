import { ProblemError } from '@muster/shared/errors';

/** Packs where a list went on into the opaque word callers send back. */
export const encodeCursor = (position: readonly string[]): string =>
  Buffer.from(JSON.stringify(position)).toString('base64url');

/** Reads a cursor of `length` parts; anything else is refused. */
export function decodeCursor(cursor: string | undefined, length: number): string[] | undefined {
  if (cursor === undefined) return undefined;
  try {
    const position: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    const fits = Array.isArray(position) && position.length === length;
    if (fits && position.every((part) => typeof part === 'string' && part.length <= 128 && !part.includes('\0')))
      return position;
  } catch {
    // Falls through: whatever it was, it is no cursor of ours.
  }
  throw notOurCursor();
}

/** The problem of a cursor that this list never gave out. */
export const notOurCursor = (): ProblemError =>
  new ProblemError('validation-failed', 'the cursor is not one this list gave out', {
    errors: [{ pointer: '#/query/cursor', detail: 'is not a cursor of this list' }],
  });

/** Whether a part of a cursor is a moment as we write them. */
export const isMoment = (text: string): boolean =>
  !Number.isNaN(Date.parse(text)) && new Date(text).toISOString() === text;

/** One page of rows fetched with `limit + 1`: the extra row says that there is more. */
export function pageOf<R, T>(
  rows: readonly R[],
  limit: number,
  show: (row: R) => T,
  position: (row: R) => readonly string[],
) {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    data: shown.map(show),
    next_cursor: rows.length > limit && last !== undefined ? encodeCursor(position(last)) : null,
  };
}
