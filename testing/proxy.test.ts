import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from './eventually.ts';
import { startProxy, type TestProxy } from './proxy.ts';

let requests: number;
let proxy: TestProxy;
const server = createServer((request, response) => {
  requests += 1;
  request.resume().on('end', () => response.end(`answer to ${request.url}`));
});

beforeEach(async () => {
  requests = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy = await startProxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

afterEach(async () => {
  await proxy.stop();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const ask = async (path = '/', options: RequestInit = {}) => (await fetch(proxy.url + path, options)).text();

describe('a proxy', () => {
  test('carries requests and answers, large ones too', async () => {
    expect(await ask('/one')).toBe('answer to /one');
    const body = 'x'.repeat(5_000_000);
    expect(await ask('/two', { method: 'POST', body })).toBe('answer to /two');
  });

  test('keeps the path and the database of the URL it stands for', async () => {
    await using other = await startProxy('postgres://me:secret@127.0.0.1:5432/things');
    expect(other.url).toBe(`postgres://me:secret@127.0.0.1:${other.port}/things`);
  });

  test('delays each way', async () => {
    proxy.delay(100);
    const started = performance.now();
    await ask();
    expect(performance.now() - started).toBeGreaterThanOrEqual(200);
  });

  test('as a black hole keeps the connection and swallows everything, until it is restored', async () => {
    proxy.blackhole();
    const answer = ask('/held');
    expect(await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 150, 'silence'))])).toBe('silence');
    expect(requests).toBe(0);
    await proxy.restore();
    expect(await answer).toBe('answer to /held');
  });

  test('drops a reply: the server did the work and the caller is not told', async () => {
    proxy.dropReplies();
    await expect(ask()).rejects.toThrow();
    expect(requests).toBe(1);
    expect(await ask()).toBe('answer to /');
    expect(requests).toBe(2);
  });

  test('cut resets what is open and lets the next through', async () => {
    proxy.blackhole();
    const lost = ask();
    let isLost = false;
    const outcome = expect(lost)
      .rejects.toThrow()
      .then(() => {
        isLost = true;
      });
    // It may not have come that far at first.
    await eventually(() => {
      proxy.cut();
      return isLost;
    });
    await outcome;
    await proxy.restore();
    expect(await ask()).toBe('answer to /');
  });

  test('refuses connections until it is restored, on the same port', async () => {
    await ask();
    await proxy.refuse();
    await expect(ask()).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } });
    await proxy.restore();
    expect(await eventually(() => ask())).toBe('answer to /');
  });

  test('half open: the target is gone and the caller is not told, until it is restored', async () => {
    await ask();
    proxy.halfOpen();
    const held = ask('/held').catch((error: Error) => error);
    expect(await Promise.race([held, new Promise((resolve) => setTimeout(resolve, 150, 'silence'))])).toBe('silence');
    expect(requests).toBe(1);
    await proxy.restore();
    expect(await held).toBeInstanceOf(TypeError);
    expect(await ask()).toBe('answer to /');
  });

  test('throttles to so many bytes a second', async () => {
    proxy.throttle(1_000_000);
    const started = performance.now();
    await ask('/', { method: 'POST', body: 'x'.repeat(300_000) });
    expect(performance.now() - started).toBeGreaterThanOrEqual(250);
  });

  test('jitter keeps bytes in order', async () => {
    proxy.delay(0, 30);
    expect(await Promise.all(['/a', '/b', '/c'].map((path) => ask(path)))).toEqual(
      ['/a', '/b', '/c'].map((path) => `answer to ${path}`),
    );
    const body = 'x'.repeat(1_000_000);
    expect(await ask('/long', { method: 'POST', body })).toBe('answer to /long');
  });

  test('cuts an answer short', async () => {
    proxy.truncate(20);
    await expect(ask()).rejects.toThrow();
    expect(requests).toBe(1);
    expect(await ask()).toBe('answer to /');
  });

  test('says a request twice, and answers it once', async () => {
    proxy.duplicate();
    expect(await ask('/twice', { method: 'POST', body: 'once' })).toBe('answer to /twice');
    await eventually(() => requests === 2);
    expect(await ask('/once')).toBe('answer to /once');
    expect(requests).toBe(3);
  });
});
