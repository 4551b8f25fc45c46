import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { eventually } from '@muster/testing/eventually';
import { expect, onTestFinished, test } from 'vitest';
import { JsonLines } from './json-lines.ts';

const PART = `${JSON.stringify('x'.repeat(1_000_000))}\n`;

/** A server that answers with so many parts, the last of which may fail. `seen` counts those asked for, and whether the rest was given up. */
async function serve({ parts, fails = false, partMs }: { parts: number; fails?: boolean; partMs?: number }) {
  const seen = { parts: 0, over: false };
  async function* lines() {
    try {
      for (; seen.parts < parts; seen.parts += 1) yield PART;
      if (fails) throw new Error('secret words');
    } finally {
      seen.over = true;
    }
  }
  const listener = getRequestListener((_, env) =>
    new JsonLines(lines()).toResponse(200, {}, (env as HttpBindings).incoming.socket, partMs),
  );
  const server = createServer(listener).listen(0, '127.0.0.1');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise((resolve) => server.once('listening', resolve));
  return { port: (server.address() as AddressInfo).port, seen, server };
}

test('all parts come, in order, and the answer ends', async () => {
  const { port, seen } = await serve({ parts: 5 });
  const response = await fetch(`http://127.0.0.1:${port}`);
  expect(response.headers.get('content-type')).toBe('application/x-ndjson');
  expect(await response.text()).toBe(PART.repeat(5));
  expect(seen).toEqual({ parts: 5, over: true });
});

test('a part that fails cuts the answer off, and its reason stays inside', async () => {
  const { port } = await serve({ parts: 2, fails: true });
  const response = await fetch(`http://127.0.0.1:${port}`);
  let text = '';
  const read = async () => {
    for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) text += piece;
  };
  await expect(read()).rejects.toThrow();
  expect(text).not.toContain('secret');
});

test('who does not read is cut off, and nothing more is read for them', async () => {
  const { port, seen, server } = await serve({ parts: 1_000, partMs: 200 });
  const socket = connect(port, '127.0.0.1').pause();
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  await eventually(async () => expect(seen.over).toBe(true));
  expect(seen.parts).toBeLessThan(100);
  await eventually(() => new Promise<boolean>((resolve) => server.getConnections((_, count) => resolve(count === 0))));
});
