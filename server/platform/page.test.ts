import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeCursor, encodeCursor, pageOf } from './page.ts';

test('a cursor comes back as it went', () => {
  const part = fc.string({ maxLength: 60, unit: 'grapheme' }).filter((it) => !it.includes('\0'));
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), (position) => {
      expect(decodeCursor(encodeCursor(position), position.length)).toEqual(position);
    }),
  );
  expect(decodeCursor(undefined, 1)).toBeUndefined();
});

test.each([
  ['nothing', ''],
  ['noise', '!!!'],
  ['no list', Buffer.from('{"a":1}').toString('base64url')],
  ['too few parts', encodeCursor(['a'])],
  ['too many', encodeCursor(['a', 'b', 'c'])],
  ['no text', Buffer.from('["a",1]').toString('base64url')],
  ['too long', encodeCursor(['a', 'b'.repeat(129)])],
  ['a NUL', encodeCursor(['a', '\0'])],
])('%s is no cursor', (_, cursor) => {
  expect(() => decodeCursor(cursor, 2)).toThrow(expect.objectContaining({ code: 'validation-failed' }));
});

test('a page says where the next one begins, and the last one does not', () => {
  const page = (rows: number[]) =>
    pageOf(
      rows,
      2,
      (row) => row * 10,
      (row) => [String(row)],
    );
  expect(page([1, 2, 3])).toEqual({ data: [10, 20], next_cursor: encodeCursor(['2']) });
  expect(page([1, 2])).toEqual({ data: [10, 20], next_cursor: null });
  expect(page([])).toEqual({ data: [], next_cursor: null });
});
