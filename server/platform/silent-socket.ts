import { connect, type Socket } from 'node:net';

/** What the driver tells of where to connect: one server, or several to be tried in turn. */
interface Target {
  host: string[];
  port: number[];
  path?: string | false;
}

const CHECK_MS = 1_000;

interface Watched {
  /** Nothing is owed, and nothing has been heard since then. */
  isQuietSince(at: number): boolean;
  destroy(): void;
}

/**
 * Opens sockets for the driver that end themselves when the server owes an answer for too long. A firewall that forgot the
 * connection, or a server that lost power, sends nothing at all: without this, statements would queue up behind each other
 * on dead connections until the kernel gives up, minutes later. One that is silent takes its quiet siblings with it: they
 * are likely dead too, and each would cost another statement and as long again to find out.
 */
export function watchedSocket(silenceMs: number): (target: Target) => Socket {
  const siblings = new Set<Watched>();
  let opened = 0;
  return ({ host, port, path }) => {
    const at = opened++ % port.length;
    // Handed over before it is connected: of a socket that came to nothing the driver must hear by the socket's own events,
    // for one it was never given costs the pool a connection for ever. What it writes meanwhile is sent later.
    const socket = path ? connect(path) : connect(port[at]!, host[at]!);
    // What the driver itself notes on a socket: the name a certificate has to bear.
    Object.assign(socket, { host: host[at], port: port[at] });
    const watched = watchSocket(socket, silenceMs, {
      onSilent(askedAt) {
        for (const other of siblings) if (other === watched || other.isQuietSince(askedAt)) other.destroy();
      },
      onGone: () => siblings.delete(watched),
    });
    siblings.add(watched);
    return socket;
  };
}

function watchSocket(
  socket: Socket,
  silenceMs: number,
  { onSilent, onGone }: { onSilent(askedAt: number): void; onGone(): void },
): Watched {
  let askedAt: number | undefined;
  let heardAt = performance.now();
  let [read, written] = [0, 0];
  let seen = false;
  const write = socket.write.bind(socket) as (...parts: unknown[]) => boolean;
  socket.write = (...parts: unknown[]) => {
    look();
    seen = true;
    askedAt ??= performance.now();
    return write(...parts);
  };
  const look = () => {
    if (socket.bytesRead !== read) [askedAt, heardAt] = [undefined, performance.now()];
    // Under TLS the bytes go past `write`: whether what came was the answer to what went out cannot be told, so such a
    // connection counts as owed until it is heard again, and a quiet one is now and then closed for nothing.
    if (!seen && socket.bytesWritten !== written) askedAt ??= performance.now();
    [read, written] = [socket.bytesRead, socket.bytesWritten];
  };
  const timer = setInterval(() => {
    look();
    // Not by a listener: the driver takes all of them off a socket that TLS goes over.
    if (socket.destroyed) {
      clearInterval(timer);
      onGone();
    } else if (askedAt !== undefined && performance.now() - askedAt > silenceMs) onSilent(askedAt);
  }, CHECK_MS);
  timer.unref();
  return {
    isQuietSince(at) {
      look();
      // When it was heard is known to a check: what came just before may count as come after.
      return askedAt === undefined && heardAt < at + CHECK_MS;
    },
    destroy: () => void socket.destroy(),
  };
}
