import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { MAX_BODY_BYTES, readJson } from './body.ts';

/** A request whose body came with its headers; that of a stream comes after them. */
const request = (body: string | Uint8Array | Readable, headers: Record<string, string> = {}) =>
  Object.assign(body instanceof Readable ? body : arrived(body), {
    complete: !(body instanceof Readable),
    headers: { 'content-type': 'application/json', ...headers },
  });
const arrived = (body: string | Uint8Array) => {
  const readable = new Readable({ read: () => {} });
  readable.push(Buffer.from(body as string));
  readable.push(null);
  return readable;
};
const stream = (...chunks: Uint8Array[]) => Readable.from(chunks, { objectMode: false });

describe('a body', () => {
  test('is read as JSON; none is none', async () => {
    expect(await readJson(request('{"a":"ü😀"}', { 'content-type': 'Application/JSON; charset=utf-8' }))).toEqual({
      a: 'ü😀',
    });
    expect(await readJson(request(''))).toBeUndefined();
    expect(await readJson(request(stream()))).toBeUndefined();
    expect(await readJson(request('"\\ud83d\\ude00"'))).toBe('😀');
    const halves = new TextEncoder().encode('"ü"');
    expect(await readJson(request(stream(halves.slice(0, 2), halves.slice(2))))).toBe('ü');
  });

  test.each([
    ['not JSON', request('{"a":'), 'malformed-request'],
    ['not UTF-8', request(new Uint8Array([34, 255, 34])), 'malformed-request'],
    ['not UTF-8, chunked', request(stream(new Uint8Array([34, 0xc3, 34]))), 'malformed-request'],
    ['packed', request('{}', { 'content-encoding': 'gzip' }), 'unsupported-media-type'],
    ['of no type', request('{}', { 'content-type': 'text/plain' }), 'unsupported-media-type'],
    ['too long by its own word', request('{}', { 'content-length': String(MAX_BODY_BYTES + 1) }), 'payload-too-large'],
    [
      'too long, chunked',
      request(stream(new Uint8Array(MAX_BODY_BYTES).fill(32), new Uint8Array(1).fill(32))),
      'payload-too-large',
    ],
  ])('that is %s is refused', async (_, it, code) => {
    await expect(readJson(it)).rejects.toMatchObject({ code });
  });

  test.each([
    ['"\\u0000"', '#'],
    ['{"a":{"b/":["x","y\\u0000"]}}', '#/a/b~1/1'],
    ['{"k\\u0000":1}', '#/k\\0'],
    ['{"a":"\\ud800"}', '#/a'],
    ['["\\udc00x"]', '#/0'],
    ['{"a":1e309}', '#/a'],
    ['-1E+309', '#'],
    ['[0,1.5e0309]', '#/1'],
    ['[0,\n1e309]', '#/1'],
    [`{"a":${'9'.repeat(301)}e9}`, '#/a'],
    [`{"a":1${'0'.repeat(309)}}`, '#/a'],
    [`{"${'k'.repeat(99)}":"\\u0000"}`, `#/${'k'.repeat(80)}`],
  ])('%s holds what cannot be stored: the place is named', async (body, pointer) => {
    await expect(readJson(request(body))).rejects.toMatchObject({ code: 'validation-failed', errors: [{ pointer }] });
  });

  test('of just the length allowed is read', async () => {
    expect(
      await readJson(request(stream(new TextEncoder().encode(`"${'x'.repeat(MAX_BODY_BYTES - 2)}"`)))),
    ).toHaveLength(MAX_BODY_BYTES - 2);
  });

  test('that breaks off is nobody else’s fault', async () => {
    const it = new Readable({ read: () => {} });
    const reading = readJson(request(it, { 'content-length': '10' }));
    it.push('{"a"');
    it.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }));
    await expect(reading).rejects.toMatchObject({ code: 'malformed-request', message: 'the body broke off' });
  });

  test('of just the depth allowed is read; brackets in texts do not count', async () => {
    const nested = (levels: number) => request(`{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`);
    expect(await readJson(nested(255))).toBeTruthy();
    await expect(readJson(nested(256))).rejects.toMatchObject({ errors: [{ pointer: '#/a' }] });
    const texts = { a: `\\"${'['.repeat(600)}`, ['[{'.repeat(300)]: '\\' };
    expect(await readJson(request(JSON.stringify(texts)))).toEqual(texts);
  });
});

describe('large bodies', () => {
  const large = () => request(`"${'x'.repeat(70_000)}"`);

  test('are taken apart one at a time, and what is small goes between them', async () => {
    const order: string[] = [];
    const all = [1, 2, 3].map((n) => readJson(large()).then(() => order.push(`large ${n}`)));
    const between = () => setImmediate(() => order.push('between'));
    for (let n = 0; n < 2; n += 1) await new Promise((resolve) => setImmediate(() => resolve(between())));
    await readJson(request('1')).then(() => order.push('small'));
    await Promise.all(all);
    expect(order.indexOf('small')).toBeLessThan(order.indexOf('large 3'));
    expect(order.slice(order.indexOf('large 1'), order.indexOf('large 3'))).toContain('between');
  });

  test('are refused when too many wait, but for those that leases depend on', async () => {
    const others = Array.from({ length: 66 }, () => readJson(large()));
    const vital = readJson(large(), true);
    const outcomes = await Promise.allSettled(others);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(65);
    expect(outcomes.at(-1)).toMatchObject({ reason: { code: 'overloaded' } });
    expect(await vital).toHaveLength(70_000);
  });
});
