// One keep-alive connection and one request at a time on it, with as little around it as will do: what is measured is the server.
import { once } from 'node:events';
import { connect } from 'node:net';

const HEAD_END = Buffer.from('\r\n\r\n');

/** How long a whole answer is, and where its body begins; undefined where its head is not all there. */
function measure(bytes) {
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const head = bytes.latin1Slice(0, end);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  if (length === undefined) throw new Error(`an answer without a length: ${head}`);
  const body = end + HEAD_END.length;
  return { status: Number(head.slice(9, 12)), body, whole: body + Number(length) };
}

export async function openConnection(port, host = '127.0.0.1') {
  const socket = connect({ port, host, noDelay: true });
  await once(socket, 'connect');
  let waiting;
  let chunks = [];
  let size = 0;
  let wanted;
  const take = () => {
    const bytes = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
    wanted ??= measure(bytes);
    if (!wanted || size < wanted.whole) {
      chunks = [bytes];
      return;
    }
    const { status, body } = wanted;
    // Nobody asked: the server says why it hangs up on a connection that was never used.
    const { resolve = () => {} } = waiting ?? {};
    waiting = wanted = undefined;
    chunks = [];
    size = 0;
    resolve({ status, text: bytes.utf8Slice(body) });
  };
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (!wanted || size >= wanted.whole) take();
  });
  const fail = (error) => waiting?.reject(error ?? new Error('the server hung up'));
  socket.on('error', fail);
  socket.on('close', () => fail());
  return {
    /** Sends JSON text and answers what came back; anything but a 2xx throws. */
    post(path, credential, body) {
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(
          `POST ${path} HTTP/1.1\r\nhost: ${host}:${port}\r\nauthorization: Bearer ${credential}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
        );
      }).then(({ status, text }) => {
        if (status >= 300) throw new Error(`${path} answered ${status}: ${text}`);
        return text;
      });
    },
    get closed() {
      return socket.destroyed;
    },
    close: () => socket.destroy(),
  };
}

/** How many connections are opened at once: a server takes only so many that it has not seen yet. */
const OPENING_AT_ONCE = 200;

/** Up to so many connections, opened as they are needed and used in turns; a request that finds none free waits for one. */
export async function openConnections(port, count) {
  const all = new Set();
  const free = [];
  const queue = [];
  let opening = 0;
  const take = () => {
    for (let it = free.shift(); it; it = free.shift()) {
      if (!it.closed) return it;
      all.delete(it);
    }
    return undefined;
  };
  const release = (connection) => {
    const next = queue.shift();
    if (next) next.resolve(connection);
    else free.push(connection);
  };
  const grow = () => {
    while (queue.length > 0 && all.size + opening < count && opening < OPENING_AT_ONCE) {
      opening += 1;
      openConnection(port)
        .then((connection) => {
          all.add(connection);
          release(connection);
        })
        .catch((error) => queue.shift()?.reject(error))
        .finally(() => {
          opening -= 1;
          grow();
        });
    }
  };
  const wait = () =>
    new Promise((resolve, reject) => {
      queue.push({ resolve, reject });
      grow();
    });
  return {
    async post(...request) {
      const connection = take() ?? (await wait());
      try {
        return await connection.post(...request);
      } finally {
        release(connection);
      }
    },
    close: () => {
      for (const connection of all) connection.close();
    },
  };
}
