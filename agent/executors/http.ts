import { Agent, type Dispatcher, request } from 'undici';
import { z } from 'zod';
import { type Handler, TaskError } from '../handler.ts';
import { checkUrl, publicLookup } from './egress.ts';
import { invalidInput, parseInput } from './input.ts';
import { Output, printable } from './output.ts';

export interface HttpOptions {
  /** Lets tasks reach private, loopback and link-local addresses. */
  allow_private?: boolean;
}

const MAX_REDIRECTS = 3;
const BODY_LIMIT_BYTES = 1024 * 1024;
/** Headers that belong to the connection, not to the request. */
const CONNECTION_HEADERS =
  /^(host|connection|content-length|transfer-encoding|upgrade|keep-alive|te|trailer|expect|proxy-.*)$/i;
/** Headers that say who one is: not for another origin. */
const SECRET_HEADERS = /^(authorization|cookie|.*api-?key.*|.*token.*)$/i;

const headerValue = z
  .string()
  .max(8_192)
  .regex(/^[\t\u0020-\u007e\u0080-\u00ff]*$/, { error: 'must be one line of Latin-1' });

const httpInput = z.strictObject({
  method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']).default('GET'),
  url: z.url({ error: 'must be an absolute URL' }).max(8_192),
  headers: z.record(z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/), headerValue).default({}),
  body: z.json().optional(),
  timeout_seconds: z.number().positive().max(3_600).default(30),
});

interface Hop {
  url: URL;
  method: z.output<typeof httpInput>['method'];
  headers: Record<string, string>;
  body: string | undefined;
}

/** `http`: one request, redirects followed by hand and judged anew. A status of 400 or more is an answer, no failure. */
export const httpExecutor =
  ({ allow_private = false }: HttpOptions): Handler =>
  async (context) => {
    const input = parseInput(httpInput, context.input_data);
    const startedAt = performance.now();
    const limit = AbortSignal.timeout(input.timeout_seconds * 1_000);
    const signal = AbortSignal.any([context.signal, limit]);
    // An agent of its own: no proxy, no connection shared between tasks, nothing left open after it.
    const dispatcher = new Agent({ connect: allow_private ? {} : { lookup: publicLookup } });
    try {
      const answer = await follow(firstHop(input), { allowPrivate: allow_private, dispatcher, signal });
      return { ...answer, duration_ms: Math.round(performance.now() - startedAt) };
    } catch (error) {
      if (context.signal.aborted) throw context.signal.reason;
      throw failureOf(error, limit.aborted ? input.timeout_seconds : undefined);
    } finally {
      await dispatcher.destroy();
    }
  };

function firstHop({ url, method, headers, body }: z.output<typeof httpInput>): Hop {
  const forbidden = Object.keys(headers).find((name) => CONNECTION_HEADERS.test(name));
  if (forbidden) throw invalidInput(`headers may not set ${forbidden}: it belongs to the connection`);
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  if (body === undefined) return { url: new URL(url), method, headers: lower, body: undefined };
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const type = typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json';
  return { url: new URL(url), method, headers: { 'content-type': type, ...lower }, body: text };
}

interface Way {
  allowPrivate: boolean;
  dispatcher: Dispatcher;
  signal: AbortSignal;
}

async function follow(first: Hop, { allowPrivate, dispatcher, signal }: Way) {
  let hop = first;
  for (let redirects = 0; ; redirects += 1) {
    checkUrl(hop.url, allowPrivate);
    const { url, method, headers, body } = hop;
    const answer = await request(url, { method, headers, body: body ?? null, dispatcher, signal });
    // A body that is given up says so as an error, which nobody else would hear.
    answer.body.on('error', () => undefined);
    const next = nextHop(hop, answer);
    if (!next) return { status: answer.statusCode, headers: answer.headers, body: await read(answer.body) };
    answer.body.destroy();
    if (redirects === MAX_REDIRECTS) {
      throw new TaskError(`more than ${MAX_REDIRECTS} redirects`, {
        code: 'too-many-redirects',
        fault: 'task',
        retryable: false,
      });
    }
    hop = next;
  }
}

function nextHop(hop: Hop, { statusCode, headers }: Dispatcher.ResponseData): Hop | undefined {
  const { location } = headers;
  if (![301, 302, 303, 307, 308].includes(statusCode) || typeof location !== 'string') return undefined;
  const url = new URL(location, hop.url);
  const leaves = url.origin !== hop.url.origin;
  const asGet = statusCode === 303 ? hop.method !== 'HEAD' : statusCode < 303 && hop.method === 'POST';
  const kept = Object.entries(hop.headers).filter(
    ([name]) => !(leaves && SECRET_HEADERS.test(name)) && !(asGet && name.startsWith('content-')),
  );
  const next = { ...hop, url, headers: Object.fromEntries(kept) };
  return asGet ? { ...next, method: 'GET', body: undefined } : next;
}

async function read(body: Dispatcher.ResponseData['body']): Promise<string> {
  const output = new Output(BODY_LIMIT_BYTES);
  for await (const chunk of body) {
    output.write(chunk);
    if (output.truncated) {
      const message = `the answer is larger than ${BODY_LIMIT_BYTES} bytes`;
      throw new TaskError(message, { code: 'response-too-large', fault: 'task', retryable: false });
    }
  }
  return printable(output.text);
}

function failureOf(error: unknown, timeoutSeconds: number | undefined): TaskError {
  if (timeoutSeconds !== undefined) {
    return new TaskError(`no answer within ${timeoutSeconds} s`, { code: 'http-timeout', fault: 'task' });
  }
  if (error instanceof TaskError) return error;
  const { message, cause } = error as Error;
  if (cause instanceof TaskError) return cause;
  return new TaskError(`the request failed: ${message}`, { code: 'http-failed', fault: 'task', cause: error });
}
