import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Endpoint, InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { type Problem, ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import type { Context, Hono } from 'hono';
import type { z } from 'zod';
import type { Admission } from './admission.ts';
import { type Authenticator, authenticate, authorise, credentialIn, type Principal } from './auth.ts';
import { readJson } from './body.ts';
import type { Ctx, Deps } from './ctx.ts';
import { withDeadline } from './deadline.ts';
import { invalid, toProblem } from './errors.ts';
import { JsonLines } from './json-lines.ts';
import { type Owners, refuseForeign } from './ownership.ts';
import { type RateLimit, RateLimited, rateLimitHeaders } from './rate-limit.ts';

/** An answer that is already JSON text: what agents and submitters sent passes through without being parsed again. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What an endpoint does: from parsed input to an answer. */
export type Verb<E extends Endpoint> = (
  ctx: Ctx,
  input: InputOf<E>,
) => Promise<ResponseOf<E> | JsonText | JsonLines> | ResponseOf<E> | JsonText | JsonLines;

/** An endpoint and what it does. */
export interface Route {
  endpoint: Endpoint;
  verb(ctx: Ctx, input: InputOf<Endpoint>): unknown;
}

/** Pairs an endpoint with its verb; the types must fit. */
export const route = <E extends Endpoint>(endpoint: E, verb: Verb<E>): Route => ({
  endpoint,
  verb: verb as Route['verb'],
});

/** What the binder needs of the process besides what verbs get. */
export interface Edge {
  deps: Deps;
  authenticators: readonly Authenticator[];
  owners: Owners;
  /** Requests a key may make. */
  requests: RateLimit;
  admission: Admission;
  /** What every answer carries. */
  headers: Readonly<Record<string, string>>;
}

/** The node request under a request; its types are the adapter's. */
export type Env = { Bindings: { incoming: IncomingMessage } };

/** What a verb is given. A class, and not the parts spread into an object: that took more time than reading the body. */
class Asked implements Ctx {
  readonly coordinatorId: Ctx['coordinatorId'];
  readonly config: Ctx['config'];
  readonly db: Ctx['db'];
  readonly log: Ctx['log'];
  readonly clock: Ctx['clock'];
  readonly notifier: Ctx['notifier'];
  readonly principal: Principal;
  readonly requestId: string;
  readonly address: string | undefined;
  readonly proof: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly traceparent: string | undefined;
  readonly #request: Request;

  constructor(deps: Deps, principal: Principal, requestId: string, address: string | undefined, c: Context<Env>) {
    this.coordinatorId = deps.coordinatorId;
    this.config = deps.config;
    this.db = deps.db;
    this.log = deps.log;
    this.clock = deps.clock;
    this.notifier = deps.notifier;
    this.principal = principal;
    this.requestId = requestId;
    this.address = address;
    this.proof = headerOf(c, 'dpop');
    this.idempotencyKey = headerOf(c, 'idempotency-key');
    this.traceparent = headerOf(c, 'traceparent');
    this.#request = c.req.raw;
  }

  /** Made when it is asked for: only a poll that waits needs one. */
  get signal(): AbortSignal {
    return this.#request.signal;
  }
}

/** How long a request may take to be read and looked up, in milliseconds, before it is asked anew who sends it: somebody who was sent away meanwhile is to be gone. */
const LATE_MS = 250;

/** Binds a route: authenticate, authorise, parse, do, encode. Every error leaves as a problem document. */
export function bind(app: Hono<Env>, edge: Edge, { endpoint, verb }: Route): void {
  const path = endpoint.path.replace(/\{(\w+)\}/g, ':$1');
  const always = { 'content-type': 'application/json', ...edge.headers };
  const status = endpoint.status ?? 200;
  app.on(endpoint.method, path, async (c) => {
    const requestId = requestIdOf(c);
    const headers: Record<string, string> = { 'x-request-id': requestId, ...always };
    try {
      const address = addressOf(c, edge.deps.config.behindProxy);
      const since = performance.now();
      // A turn of the queue also where it is known at once: meanwhile the body comes that was sent with its headers.
      let principal = await principalOf(c, edge, endpoint, address);
      if (principal.kind === 'key' && principal.requests_per_minute !== null)
        Object.assign(
          headers,
          rateLimitHeaders(edge.requests.take(principal.api_key_id, principal.requests_per_minute)),
        );
      const params = endpoint.params ? idsOf(endpoint.params, c.req.param() as Record<string, string>) : {};
      // Before the rest is looked at: a stranger learns nothing about what a body should be.
      authorise(endpoint, principal, params);
      edge.admission.refuseExcess(endpoint);
      if (endpoint.ownership === 'path')
        await withDeadline(
          edge.admission.count(endpoint, () => refuseForeign(endpoint, principal, params, edge.owners)),
        );
      const query = endpoint.query ? parse(endpoint.query, storable(c.req.query()), '#/query') : {};
      const body = endpoint.body
        ? parse(endpoint.body, await readJson(c.env.incoming, endpoint.vital, endpoint.bodyBytes), '#')
        : {};
      if (performance.now() - since > LATE_MS) {
        principal = await principalOf(c, edge, endpoint, address, true);
        authorise(endpoint, principal, params);
      }
      const ctx = new Asked(edge.deps, principal, requestId, address, c);
      const work = edge.admission.count(endpoint, () =>
        promised(verb(ctx, { params, query, body } as InputOf<Endpoint>)),
      );
      // A poll waits by itself, for as long as it was asked to.
      const answer = await (endpoint.waits ? work : withDeadline(work));
      if (answer instanceof JsonLines) return answer.toResponse(status, headers, c.env.incoming.socket);
      return new Response(answer instanceof JsonText ? answer.text : JSON.stringify(answer), { status, headers });
    } catch (error) {
      return problemResponse(error, requestId, edge.deps, headers);
    }
  });
}

/** Nothing is wrapped that is a promise already: an async function around it would cost three turns of the queue. */
const promised = (answer: unknown): Promise<unknown> => (answer instanceof Promise ? answer : Promise.resolve(answer));

/** A problem document as an answer. */
export function problemResponse(
  error: unknown,
  requestId: string,
  { log }: Pick<Deps, 'log'>,
  headers: Record<string, string>,
): Response {
  const problem = toProblem(error, requestId, log);
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: {
      ...headers,
      ...headersOf(error, problem),
      'content-type': 'application/problem+json',
      'x-request-id': requestId,
    },
  });
}

function headersOf(error: unknown, { status, code }: Problem): Record<string, string> {
  if (error instanceof RateLimited)
    return { ...rateLimitHeaders(error.allowance), 'retry-after': String(error.allowance.reset) };
  if (code === 'invalid-proof') return { 'www-authenticate': 'DPoP error="invalid_dpop_proof", algs="EdDSA"' };
  if (status === 401)
    return { 'www-authenticate': code === 'unauthenticated' ? 'Bearer' : 'Bearer error="invalid_token"' };
  return status === 503 ? { 'retry-after': '1' } : {};
}

/** The caller's own request id where it is a sane one, else a new one. */
export function requestIdOf(c: Pick<Context<Env>, 'env'>): string {
  const given = headerOf(c, 'x-request-id');
  return given && /^[\w.:-]{1,64}$/.test(given) ? given : newId('req');
}

/** A header as Node has it: the adapter reads all of them anew for each. Two of one name are joined by a comma, or were refused before. */
const headerOf = (c: Pick<Context<Env>, 'env'>, name: string): string | undefined =>
  c.env.incoming.headers[name] as string | undefined;

/** Where the caller is. A proxy adds whom it heard to the end of X-Forwarded-For, some with the port; what stands before may be made up. */
function addressOf(c: Context<Env>, behindProxy: boolean): string | undefined {
  const { remoteAddress } = c.env.incoming.socket;
  const heard = behindProxy ? headerOf(c, 'x-forwarded-for')?.split(',').at(-1)?.trim() : undefined;
  if (!heard) return remoteAddress;
  const plain = heard.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1').replace(/^\[(.*)\](:\d+)?$/, '$1');
  return isIP(plain) ? plain : remoteAddress;
}

function principalOf(
  c: Context<Env>,
  edge: Edge,
  endpoint: Endpoint,
  address: string | undefined,
  again = false,
): Promise<Principal> | Principal {
  if (endpoint.principals.includes('public')) return { kind: 'public' };
  const { scheme, token } = credentialIn(headerOf(c, 'authorization'), headerOf(c, 'x-api-key'));
  const { method, path } = c.req;
  const credential = { scheme, token, proof: headerOf(c, 'dpop'), method, path, address, again };
  return authenticate(edge.authenticators, credential);
}

function storable(query: Record<string, string>): Record<string, string> {
  for (const [name, value] of Object.entries(query)) {
    if (!value.includes('\0')) continue;
    const pointer = `#/query/${name}`;
    throw new ProblemError('validation-failed', `${pointer} holds a NUL character`, {
      errors: [{ pointer, detail: 'holds a NUL character' }],
    });
  }
  return query;
}

function parse(schema: z.ZodType, value: unknown, base: string): unknown {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw invalid(base, parsed.error.issues);
  return parsed.data;
}

function idsOf(schema: z.ZodObject, params: Record<string, string>): Record<string, unknown> {
  const parsed = schema.safeParse(params);
  if (parsed.success) return parsed.data;
  const name = String(parsed.error.issues[0]?.path[0]);
  throw new ProblemError(
    'invalid-id',
    `${name} ${JSON.stringify(params[name]?.slice(0, 80))} ${parsed.error.issues[0]?.message}`,
  );
}
