import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { getRequestListener, type HttpBindings, RequestError } from '@hono/node-server';
import { ProblemError } from '@muster/shared/errors';
import { type Config, ConfigError } from './config.ts';
import { type Answer, send } from './http-answer.ts';
import type { Handler } from './http-drain.ts';
import { checkRequest, HTTP_LIMITS, type HttpLimits, readingLimit } from './http-limits.ts';
import { createRefuser, problemOf, type Refuser } from './http-refusal.ts';
import type { Log } from './log.ts';
import { securityHeaders } from './security-headers.ts';

/** Serves a handler, within limits, until the server is closed. Whatever is refused before it gets there leaves as a problem document. */
export function listen(config: Config, handler: Handler, log: Log, limits: HttpLimits = HTTP_LIMITS): Promise<Server> {
  const refuser = createRefuser(log, securityHeaders(config));
  return new Promise<Server>((resolve, reject) => {
    const server = open(config, limits);
    server.maxConnections = limits.connections;
    // One more, so that one too many is seen: Node would leave it out without a word.
    server.maxHeadersCount = limits.headers + 1;
    handle(server, handler, refuser, limits, hostOf(config));
    server.once('error', reject);
    // A crowd that comes at once waits to be taken in; what the kernel cannot keep waiting it ends with a reset.
    server.listen({ port: config.port, host: config.host, backlog: limits.connections }, () => resolve(server));
  }).catch((error: NodeJS.ErrnoException) => {
    throw cannotListen(config, error);
  });
}

/** Where a server is reached. */
export function urlOf(config: Config, server: Server): string {
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : config.port;
  return `${config.tls ? 'https' : 'http'}://${hostOf(config)}:${port}`;
}

const hostOf = ({ host }: Config) => (host.includes(':') ? `[${host}]` : host);

function open({ tls }: Config, limits: HttpLimits): Server {
  const options: ServerOptions = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: limits.checkMs,
    // We look for it ourselves: Node's own answer says nothing.
    requireHostHeader: false,
    // Not what somebody's NODE_OPTIONS may say.
    insecureHTTPParser: false,
  };
  return tls ? createTlsServer({ ...options, ...tls, handshakeTimeout: limits.headersMs }) : createServer(options);
}

function handle(server: Server, handler: Handler, refuser: Refuser, limits: HttpLimits, hostname: string): void {
  /** The last answer of each connection, to know what another would be taken for. */
  const last = new WeakMap<Duplex, ServerResponse>();
  const limit = readingLimit(limits);
  const answer = getRequestListener((request, env) => handler.fetch(request, env as HttpBindings), {
    hostname,
    errorHandler: (error) =>
      refuser.response(error instanceof RequestError ? malformed('the host or the target is not a valid one') : error),
  });
  const sendWhole = async (answer: Promise<Answer>, incoming: IncomingMessage, outgoing: ServerResponse) => {
    try {
      send(incoming, outgoing, await answer);
    } catch (error) {
      refuser.answer(outgoing, error);
    }
  };
  server.on('request', (incoming, outgoing) => {
    last.set(incoming.socket, outgoing);
    outgoing.on('prefinish', limit);
    try {
      checkRequest(incoming, limits);
    } catch (error) {
      return refuser.answer(outgoing, error);
    }
    // Nothing here speaks another protocol, and what Node is sent after such a request it does not read.
    if (incoming.headers.upgrade !== undefined) outgoing.setHeader('connection', 'close');
    const direct = handler.direct?.(incoming, outgoing);
    void (direct ? sendWhole(direct, incoming, outgoing) : answer(incoming, outgoing));
  });
  server.on('checkExpectation', (_, outgoing) =>
    refuser.answer(outgoing, malformed('only 100-continue can be expected')),
  );
  server.on('connect', (_, socket) => refuser.end(socket, malformed('CONNECT is for proxies, and this is none')));
  const refused = new WeakSet<Duplex>();
  server.on('clientError', (error, socket) => {
    // What still comes in while the refusal is on its way is as wrong as before.
    if (refused.has(socket)) return;
    refused.add(socket);
    const problem = problemOf(error, limits);
    if (problem && socket.writable && isNext(socket, last.get(socket))) refuser.end(socket, problem);
    else socket.destroy();
  });
}

/** Whether an answer written to the connection now is taken for one to what went wrong, and not for one to an earlier request. */
function isNext(socket: Duplex, last: ServerResponse | undefined): boolean {
  if (!last || last.writableFinished) return true;
  return !last.req.complete && !last.headersSent && last.socket === socket;
}

const malformed = (detail: string) => new ProblemError('malformed-request', detail);

/** Why nothing can be served there, by the setting that would have to change. */
function cannotListen({ host, port, tls }: Config, error: NodeJS.ErrnoException): Error {
  if (error.code === 'EADDRINUSE')
    return new ConfigError(`MUSTER_PORT: ${port} is taken on ${host}; allowed is a free port, or 0 for any`);
  if (error.code === 'EACCES')
    return new ConfigError(`MUSTER_PORT: ${port} needs rights this process does not have; allowed is 1024 or more`);
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND')
    return new ConfigError(`MUSTER_HOST: ${JSON.stringify(host)} is not an address of this machine`);
  if (tls && error.code?.startsWith('ERR_OSSL'))
    return new ConfigError(`MUSTER_TLS_CERT, MUSTER_TLS_KEY: not a certificate and its key: ${error.message}`);
  return error;
}
