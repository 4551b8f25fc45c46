import { describe, expect, test } from 'vitest';
import { MAX_BODY_BYTES, readJson } from './body.ts';

const request = (body: RequestInit['body'], headers: Record<string, string> = {}) =>
  new Request('http://it/', {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
    duplex: 'half',
  } as RequestInit);
const stream = (...chunks: Uint8Array[]) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

describe('a body', () => {
  test('is read as JSON; none is none', async () => {
    expect(await readJson(request('{"a":"ü😀"}', { 'content-type': 'Application/JSON; charset=utf-8' }))).toEqual({
      a: 'ü😀',
    });
    expect(await readJson(new Request('http://it/', { method: 'POST' }))).toBeUndefined();
    expect(await readJson(request('"\\ud83d\\ude00"'))).toBe('😀');
    const halves = new TextEncoder().encode('"ü"');
    expect(await readJson(request(stream(halves.slice(0, 2), halves.slice(2))))).toBe('ü');
  });

  test.each([
    ['not JSON', request('{"a":'), 'malformed-request'],
    ['not UTF-8', request(new Uint8Array([34, 255, 34])), 'malformed-request'],
    ['not UTF-8, chunked', request(stream(new Uint8Array([34, 0xc3, 34]))), 'malformed-request'],
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
    ['{"a":{"b/":["x","y\\u0000"]}}', '#/a/b//1'],
    ['{"k\\u0000":1}', '#/k\\0'],
    ['{"a":"\\ud800"}', '#/a'],
    ['["\\udc00x"]', '#/0'],
  ])('%s holds what cannot be stored: the place is named', async (body, pointer) => {
    await expect(readJson(request(body))).rejects.toMatchObject({ code: 'validation-failed', errors: [{ pointer }] });
  });

  test('of just the length allowed is read', async () => {
    expect(
      await readJson(request(stream(new TextEncoder().encode(`"${'x'.repeat(MAX_BODY_BYTES - 2)}"`)))),
    ).toHaveLength(MAX_BODY_BYTES - 2);
  });
});
