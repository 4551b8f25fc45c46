import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request that went through, and what became of it. */
export interface Exchange {
  /** Milliseconds since the proxy started. */
  at: number;
  method: string;
  path: string;
  /** What was asked and answered, where that was JSON. */
  body: unknown;
  status: number | undefined;
  answer: unknown;
}

/** What happens to a request. `lose`: it is done and nobody is told. `hang`: it is never answered. A status: it is refused with that, and not done. */
export type Fault = 'pass' | 'lose' | 'hang' | { status: number; headers?: Record<string, string>; body?: unknown };

/** Stands before a coordinator, understands what is said, and writes it down. */
export interface HttpProxy {
  url: string;
  readonly exchanges: readonly Exchange[];
  /** Decides about every request from now on. */
  judge(fault: (exchange: Exchange) => Fault): void;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a reverse proxy on a free port of the loopback. */
export async function startHttpProxy(targetUrl: string): Promise<HttpProxy> {
  const target = new URL(targetUrl);
  const began = performance.now();
  const exchanges: Exchange[] = [];
  let judge: (exchange: Exchange) => Fault = () => 'pass';

  const pass = (
    exchange: Exchange,
    incoming: IncomingMessage,
    said: Buffer,
    outgoing: ServerResponse,
    lose: boolean,
  ) => {
    const { method, headers, url: path } = incoming;
    const onward = request({ host: target.hostname, port: target.port, method, path, headers }, async (reply) => {
      const told = await bytesOf(reply).catch(() => undefined);
      exchange.status = reply.statusCode;
      exchange.answer = told && jsonOf(told);
      if (lose || !told) return outgoing.destroy();
      outgoing.writeHead(reply.statusCode!, reply.headers).end(told);
    });
    onward.once('error', () => outgoing.destroy());
    outgoing.once('close', () => onward.destroy());
    onward.end(said);
  };
  const server = createServer(async (incoming, outgoing) => {
    const said = await bytesOf(incoming).catch(() => undefined);
    if (!said) return;
    const { method = '', url: path = '' } = incoming;
    const at = performance.now() - began;
    const exchange: Exchange = { at, method, path, body: jsonOf(said), status: undefined, answer: undefined };
    exchanges.push(exchange);
    const fault = judge(exchange);
    if (fault === 'hang') return;
    if (typeof fault === 'string') return pass(exchange, incoming, said, outgoing, fault === 'lose');
    const { status, headers = {}, body } = fault;
    exchange.status = status;
    exchange.answer = body;
    outgoing.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    exchanges,
    judge(fault) {
      judge = fault;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function bytesOf(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}
