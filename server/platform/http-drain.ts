import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Answer } from './http-answer.ts';

/** What answers requests. */
export interface Handler {
  /** The short way: undefined where a request has to go the long one. */
  direct?(incoming: IncomingMessage, outgoing: ServerResponse): Promise<Answer> | undefined;
  /** `env` holds what Node knows of the request. */
  fetch(request: Request, env: HttpBindings): Response | Promise<Response>;
}

/** Knows how many requests are being answered, and tells when none is. */
export interface Flights extends Handler {
  landed(): Promise<void>;
}

/** Counts the requests that pass through a handler. */
export function countFlights(handler: Handler): Flights {
  let flying = 0;
  let waiting: (() => void)[] = [];
  const land = () => {
    flying -= 1;
    if (flying > 0) return;
    for (const tell of waiting) tell();
    waiting = [];
  };
  const count = <T>(answer: T): T => {
    if (answer instanceof Promise) {
      flying += 1;
      answer.then(land, land);
    }
    return answer;
  };
  return {
    direct: (incoming, outgoing) => count(handler.direct?.(incoming, outgoing)),
    fetch: (request, env) => count(handler.fetch(request, env)),
    landed: () => (flying === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
  };
}

/** Knows the connections that were opened in advance and on which nothing was said yet: to Node they are not idle, and it would wait for them. */
export function watchSilent(server: Server): { close(): void } {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  return {
    close() {
      for (const socket of open) if (socket.bytesRead === 0) socket.destroy();
    },
  };
}

/**
 * Ends a server. It listens on until what it had begun is answered, so that whoever asks meanwhile is told that it drains
 * (readiness says 503) and not turned away; what takes longer than `atMostMs` is cut off.
 */
export async function drainServer(
  server: Server,
  { flights, silent }: { flights: Flights; silent: { close(): void } },
  atMostMs: number,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, atMostMs);
  });
  await Promise.race([flights.landed(), late]);
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  silent.close();
  void late.then(() => server.closeAllConnections());
  await closed;
  clearTimeout(timer);
}
