import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Problem } from '@muster/shared/errors';
import { toProblem } from './errors.ts';
import { JsonLines } from './json-lines.ts';
import type { Log } from './log.ts';
import { RateLimited, rateLimitHeaders } from './rate-limit.ts';

/** A request and its answer as Node has them. */
export interface Exchange {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
}

/** A request for an endpoint, found by its path. */
export interface Asking extends Exchange {
  path: string;
  params: Record<string, string>;
  query: Record<string, string>;
}

/** What is answered, before it is known how it is sent. */
export interface Answer {
  status: number;
  /** Names and values in turn, as Node takes them soonest. */
  headers: string[];
  body: string | JsonLines;
}

/** How long what is still being sent is listened to when its answer is there, in milliseconds. */
const LINGER_MS = 500;

/** Headers as an answer holds them. */
export const flat = (headers: Readonly<Record<string, string>>): string[] => Object.entries(headers).flat();

/** A problem document, with these headers besides its own. */
export function problemAnswer(error: unknown, requestId: string, log: Log, headers: readonly string[]): Answer {
  const problem = toProblem(error, requestId, log);
  const own = ['content-type', 'application/problem+json', 'x-request-id', requestId, ...headersOf(error, problem)];
  return { status: problem.status, headers: [...headers, ...own], body: JSON.stringify(problem) };
}

function headersOf(error: unknown, { status, code }: Problem): string[] {
  if (error instanceof RateLimited)
    return [...rateLimitHeaders(error.allowance), 'retry-after', String(error.allowance.reset)];
  if (code === 'invalid-proof') return ['www-authenticate', 'DPoP error="invalid_dpop_proof", algs="EdDSA"'];
  if (status === 401)
    return ['www-authenticate', code === 'unauthenticated' ? 'Bearer' : 'Bearer error="invalid_token"'];
  return status === 503 ? ['retry-after', '1'] : [];
}

/** An answer as hono gives it on. */
export function toResponse({ status, headers: list, body }: Answer, { socket }: IncomingMessage): Response {
  const headers: Record<string, string> = {};
  for (let at = 0; at < list.length; at += 2) headers[list[at]!] = list[at + 1]!;
  return typeof body === 'string' ? new Response(body, { status, headers }) : body.toResponse(status, headers, socket);
}

/** Sends an answer that is text at once, head and body together. */
export function send(incoming: IncomingMessage, outgoing: ServerResponse, { status, headers, body }: Answer): void {
  if (body instanceof JsonLines) throw new Error('lines are sent by hono');
  headers.push('content-length', String(Buffer.byteLength(body)));
  outgoing.writeHead(status, headers).end(body);
  // Who was answered before all was sent may still be sending, and Node would read it for as long as a request may take.
  // (Of a body that was read its end is not yet known here.)
  if (!incoming.complete && (status >= 400 || !incoming.readableDidRead))
    setTimeout(() => incoming.complete || incoming.socket.destroySoon(), LINGER_MS).unref();
}
