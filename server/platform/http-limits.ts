import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ProblemError } from '@muster/shared/errors';

/** What one caller may take of the server, long before it is known who calls. */
export interface HttpLimits {
  /** The request line and all headers together, in bytes. */
  headerBytes: number;
  headers: number;
  urlBytes: number;
  /** How long the headers may take to arrive. */
  headersMs: number;
  /** How long the whole request may; how long the answer takes is not limited by it. */
  requestMs: number;
  /** How long the answer may take to be read when it is ready. */
  answerMs: number;
  /** How long a connection may stand idle: longer than proxies keep theirs, so that it is not ours that ends under a request. */
  keepAliveMs: number;
  /** How often these times are looked at. */
  checkMs: number;
  connections: number;
}

export const HTTP_LIMITS: HttpLimits = {
  headerBytes: 16_384,
  headers: 100,
  urlBytes: 8_192,
  headersMs: 10_000,
  requestMs: 30_000,
  answerMs: 30_000,
  keepAliveMs: 65_000,
  checkMs: 2_000,
  // Each is an open file, and a process often has no more than 20,000.
  connections: 16_000,
};

/** Headers of which two would leave it open which one is meant. (That Content-Length is one is seen to by Node.) */
const ONCE = ['host', 'authorization', 'x-api-key', 'dpop', 'content-type', 'idempotency-key'];
/** A bit for each: every request has some, and a set of those seen would be made for every request. */
const BITS = new Map(ONCE.map((name, n) => [name, 1 << n]));

/** Refuses what Node lets pass and nobody well-meaning sends. */
export function checkRequest(incoming: IncomingMessage, limits: HttpLimits): void {
  const { url = '', rawHeaders } = incoming;
  if (url.length > limits.urlBytes) throw tooLongUrl(limits);
  if (rawHeaders.length > 2 * limits.headers) throw tooLargeHeaders(limits);
  let seen = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase();
    const bit = BITS.get(name) ?? 0;
    if ((seen & bit) !== 0) throw new ProblemError('malformed-request', `there are two ${name} headers`);
    seen |= bit;
  }
  const wrong = wrongIn(incoming);
  if (wrong) throw new ProblemError('malformed-request', wrong);
}

/** What a proxy in front may read otherwise than Node does, so that one of its requests would be two here, or another one. */
function wrongIn({ httpVersion, headers, url = '' }: IncomingMessage): string | undefined {
  const coding = headers['transfer-encoding'];
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'only HTTP/1.1 and HTTP/1.0 are spoken here';
  if (httpVersion === '1.0' && coding !== undefined) return 'HTTP/1.0 knows no transfer-encoding';
  // One that does not end with chunks Node refuses.
  if (coding?.includes(',')) return 'the only transfer-encoding is chunked';
  if (httpVersion === '1.1' && headers.host === undefined) return 'the host header is missing';
  if (url[0] !== '/' && /^[^/]*\/\/[^/?#]*@/.test(url)) return 'the target may not name a user';
  return undefined;
}

export const tooLongUrl = ({ urlBytes }: HttpLimits) =>
  new ProblemError('uri-too-long', `the URL is longer than ${urlBytes} bytes`);

export const tooLargeHeaders = ({ headers, headerBytes }: HttpLimits) =>
  new ProblemError('headers-too-large', `there are more than ${headers} headers, or more than ${headerBytes} bytes`);

/** For the `prefinish` of an answer: cuts off who asks and does not read it. What waits for them is memory. */
export const readingLimit = ({ answerMs }: HttpLimits) =>
  function (this: ServerResponse): void {
    const { socket } = this;
    // Nearly always all of it has gone to the network by now.
    if (!socket || socket.writableLength === 0) return;
    const late = setTimeout(() => cutOff(socket), answerMs);
    this.once('close', () => clearTimeout(late));
  };

/** By a reset: a close in order would leave the kernel with all that nobody reads. (Only a plain connection can be reset.) */
const cutOff = (socket: Socket) => ('encrypted' in socket ? socket.destroy() : socket.resetAndDestroy());
