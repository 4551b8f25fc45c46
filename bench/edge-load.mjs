// The load of `bench/edge.mjs`, in a process of its own: so many connections, one request in flight on each, and as little
// reading of the answers as will do. Started by it with IPC; each message is a round, answered by how many were answered.
import { once } from 'node:events';
import { connect } from 'node:net';
import { BODY } from './edge-request.mjs';

const HEAD_END = Buffer.from('\r\n\r\n');

const requestOf = (path, credential) =>
  Buffer.from(
    [
      `POST ${path} HTTP/1.1`,
      'host: 127.0.0.1',
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(BODY)}`,
      `authorization: Bearer ${credential}`,
      '',
      BODY,
    ].join('\r\n'),
  );

/** How long a whole answer is; undefined where its head is not all there. */
function lengthOf(bytes) {
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const head = bytes.latin1Slice(0, end);
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(`answered ${bytes}`);
  return end + HEAD_END.length + Number(/content-length: (\d+)/i.exec(head)[1]);
}

/** Asks on one connection, again and again, until the time is over. Answers how often. */
async function ask(port, request, until) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  let count = 0;
  let bytes = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server hung up')));
    socket.on('data', (chunk) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      if (bytes.length < (lengthOf(bytes) ?? Number.POSITIVE_INFINITY)) return;
      bytes = Buffer.alloc(0);
      count += 1;
      if (performance.now() < until) return socket.write(request);
      socket.removeAllListeners('close').destroy();
      resolve(count);
    });
    socket.write(request);
  });
}

process.on('message', async ({ port, path, credential, connections, seconds }) => {
  const request = requestOf(path, credential);
  const began = performance.now();
  const until = began + seconds * 1_000;
  const counts = await Promise.all(Array.from({ length: connections }, () => ask(port, request, until)));
  const sum = counts.reduce((a, b) => a + b);
  process.send({ rate: (sum * 1_000) / (performance.now() - began), count: sum });
});
process.on('disconnect', () => process.exit());
