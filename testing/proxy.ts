import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { carry, type Faults, noFaults, type Pair } from './proxy-faults.ts';

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
  /** As when the target loses power: its ends of the connections are gone, the callers' ends are not told. New ones are accepted, and that is all. */
  halfOpen(): void;
  /** Holds every byte for so long, each way, and up to `jitterMs` longer; bytes stay in order. */
  delay(ms: number, jitterMs?: number): void;
  /** Lets so many bytes pass a second, each way and connection. */
  throttle(bytesPerSecond: number): void;
  /** Lets the next `count` requests through and resets their connections in place of the answer. */
  dropReplies(count?: number): void;
  /** Lets the first `bytes` of the next `count` answers pass and ends their connections. */
  truncate(bytes: number, count?: number): void;
  /** Sends the next `count` requests a second time when they are answered, over a connection of their own; that answer is told to nobody. */
  duplicate(count?: number): void;
  /** Ends all faults. Bytes held back arrive now, as TCP would send them again. */
  restore(): Promise<void>;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const DEFAULT_PORTS: Record<string, number> = { 'http:': 80, 'https:': 443, 'postgres:': 5432, 'postgresql:': 5432 };

export interface ProxyOptions {
  /** What chance decides; `Math.random` unless said. */
  random?: () => number;
}

/** Starts a TCP proxy on a free port of the loopback, in front of the server a URL names. */
export async function startProxy(targetUrl: string, { random = Math.random }: ProxyOptions = {}): Promise<TestProxy> {
  const url = new URL(targetUrl);
  const target = { host: url.hostname, port: Number(url.port) || DEFAULT_PORTS[url.protocol]! };
  const dial = () => createConnection({ ...target, noDelay: true, allowHalfOpen: true });
  const faults = noFaults(random);
  const pairs = new Set<Pair>();
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const pair: Pair = { near, far: dial(), severed: false };
    pairs.add(pair);
    near.once('close', () => pairs.delete(pair));
    carry(pair, faults, (request) => void repeat(dial(), request));
    if (faults.halfOpen) sever(pair);
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await listen(0);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  const cut = (which: (pair: Pair) => boolean = () => true) => {
    for (const pair of pairs) {
      if (!which(pair)) continue;
      pair.near.resetAndDestroy();
      pair.far.resetAndDestroy();
    }
  };
  const refuse = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    cut();
    await closed;
  };
  const set = (some: Partial<Faults>) => void Object.assign(faults, some);
  return {
    url: url.href.replace(/\/$/, ''),
    port: Number(url.port),
    cut: () => cut(),
    refuse,
    blackhole: () => block(faults),
    halfOpen() {
      set({ halfOpen: true });
      pairs.forEach(sever);
    },
    delay: (delayMs, jitterMs = 0) => set({ delayMs, jitterMs }),
    throttle: (bytesPerSecond) => set({ bytesPerSecond }),
    dropReplies: (count = 1) => set({ drops: count }),
    truncate: (bytes, count = 1) => set({ truncated: { count, bytes } }),
    duplicate: (count = 1) => set({ duplicates: count }),
    async restore() {
      faults.unblock();
      set(noFaults(random));
      // Whoever still speaks to the host that lost power learns of it now that it is back.
      cut(({ severed }) => severed);
      if (!server.listening) await listen(Number(url.port));
    },
    stop: refuse,
    [Symbol.asyncDispose]: refuse,
  };
}

function sever(pair: Pair): void {
  pair.severed = true;
  pair.far.resetAndDestroy();
}

function block(faults: Faults): void {
  faults.unblock();
  faults.open = new Promise((resolve) => {
    faults.unblock = resolve;
  });
}

/** Says it again, and hears nobody out. */
function repeat(far: Socket, request: Buffer): void {
  far.on('error', () => {});
  far.once('data', () => far.destroy());
  far.write(request);
}
