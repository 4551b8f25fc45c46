import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** A piece of network between two processes, which can be made as bad as networks are. */
export interface TestProxy {
  /** The target's URL as seen through the proxy. */
  url: string;
  port: number;
  /** Resets every connection there is; new ones are let through. */
  cut(): void;
  /** Resets every connection and refuses new ones. */
  refuse(): Promise<void>;
  /** Keeps every connection open, old or new, and lets no byte pass. */
  blackhole(): void;
  /** Holds every byte for so long, each way. */
  delay(ms: number): void;
  /** Lets the next `count` requests through and resets their connections in place of the answer. */
  dropReplies(count?: number): void;
  /** Ends all faults. Bytes held back arrive now, as TCP would send them again. */
  restore(): Promise<void>;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const DEFAULT_PORTS: Record<string, number> = { 'http:': 80, 'https:': 443, 'postgres:': 5432, 'postgresql:': 5432 };

/** What the network does to bytes just now; the connections look at it for each piece they carry. */
interface Faults {
  delayMs: number;
  /** Answers still to be dropped. */
  drops: number;
  /** Settled when bytes may pass. */
  open: Promise<void>;
  unblock(): void;
}

const noFaults = (): Faults => ({ delayMs: 0, drops: 0, open: Promise.resolve(), unblock: () => {} });

/** Starts a TCP proxy on a free port of the loopback, in front of the server a URL names. */
export async function startProxy(targetUrl: string): Promise<TestProxy> {
  const url = new URL(targetUrl);
  const target = { host: url.hostname, port: Number(url.port) || DEFAULT_PORTS[url.protocol]! };
  const faults = noFaults();
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const far = createConnection({ ...target, noDelay: true, allowHalfOpen: true });
    for (const socket of [near, far]) sockets.add(socket.once('close', () => sockets.delete(socket)));
    join(near, far, faults);
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await listen(0);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  const refuse = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.resetAndDestroy();
    await closed;
  };
  return {
    url: url.href.replace(/\/$/, ''),
    port: Number(url.port),
    cut: () => sockets.forEach((socket) => void socket.resetAndDestroy()),
    refuse,
    blackhole: () => block(faults),
    delay: (delayMs) => void Object.assign(faults, { delayMs }),
    dropReplies: (drops = 1) => void Object.assign(faults, { drops }),
    async restore() {
      faults.unblock();
      Object.assign(faults, noFaults());
      if (!server.listening) await listen(Number(url.port));
    },
    stop: refuse,
    [Symbol.asyncDispose]: refuse,
  };
}

function block(faults: Faults): void {
  faults.unblock();
  faults.open = new Promise((resolve) => {
    faults.unblock = resolve;
  });
}

function join(near: Socket, far: Socket, faults: Faults): void {
  relay(near, far, faults, () => false);
  relay(far, near, faults, () => {
    if (faults.drops === 0) return false;
    faults.drops -= 1;
    return true;
  });
}

/** Carries what `from` says to `to`, its end and its errors too, in order and through the faults of the moment. */
function relay(from: Socket, to: Socket, faults: Faults, isDropped: () => boolean): void {
  let last = Promise.resolve();
  const carry = (deliver: () => void) => {
    const due = performance.now() + faults.delayMs;
    last = last.then(async () => {
      const early = due - performance.now();
      if (early > 0) await pause(early);
      await faults.open;
      deliver();
    });
  };
  from.on('data', (chunk) =>
    carry(() => {
      if (to.destroyed) return;
      if (isDropped()) {
        from.resetAndDestroy();
        to.resetAndDestroy();
      } else if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    }),
  );
  from.on('end', () => carry(() => to.end()));
  from.on('error', () => carry(() => to.resetAndDestroy()));
  from.on('close', () => carry(() => to.destroySoon()));
}
