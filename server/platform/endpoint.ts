import type { Endpoint, InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import type { Context, Hono } from 'hono';
import type { z } from 'zod';
import { type Authenticator, authenticate, authorise, type Principal } from './auth.ts';
import { readJson } from './body.ts';
import type { Ctx, Deps } from './ctx.ts';
import { withDeadline } from './deadline.ts';
import { invalid, toProblem } from './errors.ts';

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
) => Promise<ResponseOf<E> | JsonText> | ResponseOf<E> | JsonText;

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
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** Binds a route: parse, authorise, do, encode. Every error leaves as a problem document. */
export function bind(app: Hono, edge: Edge, { endpoint, verb }: Route): void {
  const path = endpoint.path.replace(/\{(\w+)\}/g, ':$1');
  app.on(endpoint.method, path, async (c) => {
    const requestId = requestIdOf(c);
    try {
      const principal = await principalOf(c, edge, endpoint);
      const input = await inputOf(c, endpoint, (params) => authorise(endpoint, principal, params));
      const ctx: Ctx = {
        ...edge.deps,
        principal,
        requestId,
        traceparent: c.req.header('traceparent'),
        // Made when it is asked for: only a poll that waits needs one.
        get signal() {
          return c.req.raw.signal;
        },
      };
      // A poll waits by itself, for as long as it was asked to.
      const answer = await (endpoint.waits ? verb(ctx, input) : withDeadline(Promise.resolve(verb(ctx, input))));
      const text = answer instanceof JsonText ? answer.text : JSON.stringify(answer);
      return new Response(text, {
        status: endpoint.status ?? 200,
        headers: { ...JSON_TYPE, 'x-request-id': requestId },
      });
    } catch (error) {
      return problemResponse(error, requestId, edge.deps);
    }
  });
}

/** A problem document as an answer. */
export function problemResponse(
  error: unknown,
  requestId: string,
  { log }: Pick<Deps, 'log'>,
  headers: Record<string, string> = {},
): Response {
  const problem = toProblem(error, requestId, log);
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: {
      'content-type': 'application/problem+json',
      'x-request-id': requestId,
      ...(problem.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
      ...(problem.status === 503 ? { 'retry-after': '1' } : {}),
      ...headers,
    },
  });
}

/** The caller's own request id where it is a sane one, else a new one. */
export function requestIdOf(c: Context): string {
  const given = c.req.header('x-request-id');
  return given && /^[\w.:-]{1,64}$/.test(given) ? given : newId('req');
}

async function principalOf(c: Context, edge: Edge, endpoint: Endpoint): Promise<Principal> {
  if (endpoint.principals.includes('public')) return { kind: 'public' };
  return authenticate(edge.authenticators, c.req.header('authorization'), c.req.header('x-api-key'));
}

async function inputOf(
  c: Context,
  endpoint: Endpoint,
  authorised: (params: Record<string, unknown>) => void,
): Promise<InputOf<Endpoint>> {
  const params = endpoint.params ? idsOf(endpoint.params, c.req.param() as Record<string, string>) : {};
  // Before the rest is looked at: a stranger learns nothing about what a body should be.
  authorised(params);
  const query = endpoint.query ? parse(endpoint.query, storable(c.req.query()), '#/query') : {};
  const body = endpoint.body ? parse(endpoint.body, await readJson(c.req.raw), '#') : {};
  return { params, query, body } as InputOf<Endpoint>;
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
