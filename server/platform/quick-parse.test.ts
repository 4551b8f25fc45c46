import { arbitraryOf } from '@muster/e2e/fixtures/arbitraries';
import { batchTask } from '@muster/shared/contract/batches';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { createTask } from '@muster/shared/contract/tasks';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { quickParse } from './quick-parse.ts';

const bodies = [
  ...Object.entries(ENDPOINTS).flatMap(([name, { body }]) => (body ? [{ name, body }] : [])),
  { name: 'a task of a batch', body: batchTask },
];

/** Whether both say the same: what is accepted with its fields in the same order, what is refused for the same reasons. */
function expectSame(schema: z.ZodType, value: unknown): boolean {
  const [quick, plain] = [quickParse(schema)(value), schema.safeParse(value)];
  expect(quick.data).toStrictEqual(plain.data);
  expect(JSON.stringify(quick.data)).toBe(JSON.stringify(plain.data));
  expect(quick.error?.issues).toEqual(plain.error?.issues);
  return plain.success;
}

test.each(bodies)('the body of $name is read as zod reads it', ({ body }) => {
  let accepted = 0;
  const sent = arbitraryOf(body).map((value) => JSON.parse(JSON.stringify(value) ?? 'null'));
  fc.assert(
    fc.property(sent, (value) => {
      if (expectSame(body, value)) accepted += 1;
    }),
    { numRuns: 300 },
  );
  // Sixteen of some, on average.
  expect(accepted).toBeGreaterThan(2);
});

test.each([
  ['less than the characters it needs, in more units', z.string().min(2), '\u{1F600}'],
  ['more units than it may have characters', z.string().max(1), '\u{1F600}'],
  ['a refinement that answers later', z.strictObject({ a: z.custom((it) => Boolean(it)) }), { a: 0 }],
  ['a refinement after a shape', z.strictObject({ a: z.int() }).refine(({ a }) => a > 1), { a: 1 }],
  ['a field of every object', z.strictObject({ toString: z.string().optional() }), {}],
  ["a field that is no one's", z.strictObject({ a: z.int().optional() }), JSON.parse('{"__proto__": 1}')],
  ['a field in the place of another', z.strictObject({ a: z.int().optional() }), { b: 1 }],
  ['nothing where something is by default', z.strictObject({ a: z.int().default(3).optional() }), {}],
  ['a default that does not fit', z.strictObject({ a: z.int().max(1).default(3) }), {}],
  ['a number as text', z.coerce.number().int(), '3'],
  ['a number too large to be whole', z.int(), 2 ** 53],
  ['the ends of a range', z.array(z.int().gt(1).lt(3)), [1, 2, 3]],
  ['text with a grammar', z.array(z.iso.datetime()), ['yesterday']],
  ['text that is trimmed', z.string().trim().min(1), ' a '],
  ['fields nobody knows, dropped', z.object({ a: z.int() }), { a: 1, b: 2 }],
  ['fields nobody knows, kept', z.looseObject({ a: z.int() }), { a: 1, b: 2 }],
  ['a field that is missing among others', z.object({ a: z.int() }), { b: 2 }],
  ['a field of every object, where others are dropped', z.object({ toString: z.string().optional() }), {}],
  ['an array where an object is asked for', z.strictObject({}), []],
  ['a pattern that remembers', z.array(z.string().regex(/a/g)), ['a', 'a', 'b', 'a']],
])('%s', (_, schema, value) => {
  expectSame(schema, value);
});

test('a default is made anew for each who gets it', () => {
  const parse = quickParse(z.strictObject({ tags: z.array(z.string()).default([]) }));
  parse({}).data?.tags.push('mine');
  expect(parse({}).data).toEqual({ tags: [] });
});

test('zod is not asked about a task as people submit them', () => {
  const asked = vi.spyOn(createTask.body, 'safeParse');
  const parse = quickParse(createTask.body);
  expect(parse({ task_type: 'echo', input_data: {}, priority: 3, tags: ['a'], metadata: { b: 1 } }).success).toBe(true);
  expect(asked).not.toHaveBeenCalled();
  expect(parse({ task_type: 'echo' }).success).toBe(false);
  expect(asked).toHaveBeenCalledOnce();
});
