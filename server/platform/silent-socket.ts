import { connect, type Socket } from 'node:net';

/** What the driver tells of where to connect. */
interface Target {
  host: string[];
  port: number[];
  path?: string | false;
}

const CHECK_MS = 1_000;

/**
 * Opens sockets for the driver that end themselves when the server owes an answer for too long. A firewall that forgot the
 * connection, or a server that lost power, sends nothing at all: without this, statements would queue up behind each other
 * on dead connections until the kernel gives up, minutes later.
 */
export const watchedSocket =
  (silenceMs: number) =>
  (target: Target): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = target.path ? connect(target.path) : connect(target.port[0]!, target.host[0]!);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        watch(socket, silenceMs);
        resolve(socket);
      });
    });

function watch(socket: Socket, silenceMs: number): void {
  let askedAt: number | undefined;
  let [read, written] = [0, 0];
  const write = socket.write.bind(socket) as (...parts: unknown[]) => boolean;
  socket.write = (...parts: unknown[]) => {
    look();
    askedAt ??= performance.now();
    return write(...parts);
  };
  const look = () => {
    if (socket.bytesRead !== read) askedAt = undefined;
    // Under TLS the bytes go past `write`; what went out unseen counts from when it was noticed.
    else if (socket.bytesWritten !== written) askedAt ??= performance.now();
    [read, written] = [socket.bytesRead, socket.bytesWritten];
  };
  const timer = setInterval(() => {
    look();
    if (askedAt !== undefined && performance.now() - askedAt > silenceMs) socket.destroy();
  }, CHECK_MS);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
}
