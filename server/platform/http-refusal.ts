import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import { toProblem } from './errors.ts';
import { type Answer, problemAnswer } from './http-answer.ts';
import { type HttpLimits, tooLargeHeaders, tooLongUrl } from './http-limits.ts';
import type { Log } from './log.ts';

/** How long what was still being sent is listened to after a refusal, so that the refusal is not lost by a reset, in milliseconds. */
const LINGER_MS = 500;

const EXCESS = new ProblemError('overloaded', 'as much is being worked on as may be; try again');
/** Stands for the id of a request that is yet to come. */
const REQUEST_ID = '{request_id}';

/** Answers in the place of the application, always as problem documents. */
export interface Refuser {
  response(error: unknown): Response;
  answer(outgoing: ServerResponse, error: unknown): void;
  /** For what never became a request: writes to the bare connection and ends it. */
  end(socket: Duplex, error: ProblemError): void;
}

/** A refuser that sends these headers with everything. */
export function createRefuser(log: Log, always: Record<string, string>): Refuser {
  const parts = (error: unknown) => {
    const requestId = newId('req');
    const problem = toProblem(error, requestId, log);
    const headers: Record<string, string> = {
      ...always,
      'content-type': 'application/problem+json',
      'x-request-id': requestId,
      connection: 'close',
    };
    return { status: problem.status, headers, body: JSON.stringify(problem) };
  };
  return {
    response(error) {
      const { body, ...init } = parts(error);
      return new Response(body, init);
    },
    answer(outgoing, error) {
      const { status, headers, body } = parts(error);
      outgoing.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
    },
    end(socket, error) {
      const { status, headers, body } = parts(error);
      const all = { ...headers, date: new Date().toUTCString(), 'content-length': Buffer.byteLength(body) };
      const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head.join('')}\r\n${body}`);
      // Nobody else may be listening any more, and an error without a listener ends the process.
      socket.on('error', () => socket.destroy()).resume();
      setTimeout(() => socket.destroy(), LINGER_MS).unref();
    },
  };
}

/** What refuses what is too much, with these headers besides its own: a crowd is, so all but the request id and the time is written beforehand. */
export function excessAnswer(log: Log, headers: readonly string[]): (requestId: string, date: string) => Answer {
  const { status, headers: always, body } = problemAnswer(EXCESS, REQUEST_ID, log, headers);
  const [before, after] = String(body).split(REQUEST_ID) as [string, string];
  const id = always.indexOf(REQUEST_ID);
  return (requestId, date) => ({
    status,
    headers: ['date', date, ...always.with(id, requestId)],
    body: before + requestId + after,
  });
}

/** Why Node itself would not take a request, as a problem; undefined where nobody is there to be told. */
export function problemOf(error: NodeJS.ErrnoException, limits: HttpLimits): ProblemError | undefined {
  const {
    code,
    bytesParsed = 0,
    rawPacket,
  } = error as NodeJS.ErrnoException & {
    bytesParsed?: number;
    rawPacket?: Buffer;
  };
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new ProblemError(
      'request-timeout',
      `headers must arrive within ${limits.headersMs} ms, a request within ${limits.requestMs} ms`,
    );
  if (code === 'HPE_HEADER_OVERFLOW') {
    // Where the first line has no end yet, it is the URL.
    const read = rawPacket?.toString('latin1', 0, bytesParsed || undefined) ?? '';
    return /^[A-Z]+ [^\r\n]*$/.test(read) ? tooLongUrl(limits) : tooLargeHeaders(limits);
  }
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW')
    return new ProblemError('payload-too-large', 'the chunk extensions are too large');
  if (code?.startsWith('HPE_')) return new ProblemError('malformed-request', 'this is no well-formed HTTP request');
  return undefined;
}
