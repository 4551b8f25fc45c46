import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Endpoint, InputOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import { newId } from '@muster/shared/ids';
import type { Hono } from 'hono';
import type { z } from 'zod';
import { addressOf } from './address.ts';
import type { Admission, Place } from './admission.ts';
import { type Authenticator, authenticate, authorise, credentialIn, type Principal } from './auth.ts';
import { hasCome, inTurn, readJson, readText } from './body.ts';
import type { Ctx, Deps, HangUp } from './ctx.ts';
import { withDeadline } from './deadline.ts';
import { invalid } from './errors.ts';
import { type Answer, type Asking, type Exchange, flat, problemAnswer, toResponse } from './http-answer.ts';
import type { Direct } from './http-direct.ts';
import { excessAnswer } from './http-refusal.ts';
import { etagOf } from './if-match.ts';
import { JsonLines } from './json-lines.ts';
import { type Owners, refuseForeign } from './ownership.ts';
import { quickParse } from './quick-parse.ts';
import { type RateLimit, rateLimitHeaders } from './rate-limit.ts';
import { acceptsYaml, isYaml, readYaml, writeYaml, type Yaml } from './yaml.ts';

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

/** What is under a request of hono's. */
export type Env = { Bindings: Exchange };

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
  readonly ifMatch: string | undefined;
  readonly traceparent: string | undefined;
  readonly #outgoing: ServerResponse;

  constructor(deps: Deps, principal: Principal, requestId: string, address: string | undefined, of: Exchange) {
    this.coordinatorId = deps.coordinatorId;
    this.config = deps.config;
    this.db = deps.db;
    this.log = deps.log;
    this.clock = deps.clock;
    this.notifier = deps.notifier;
    this.principal = principal;
    this.requestId = requestId;
    this.address = address;
    this.proof = headerOf(of.incoming, 'dpop');
    this.idempotencyKey = headerOf(of.incoming, 'idempotency-key');
    this.ifMatch = headerOf(of.incoming, 'if-match');
    this.traceparent = headerOf(of.incoming, 'traceparent');
    this.#outgoing = of.outgoing;
  }

  /** Made when it is asked for: only a poll that waits needs one. */
  get signal(): HangUp {
    return new HungUp(this.#outgoing);
  }
}

/** An answer closes when its caller hangs up, or when all of it was sent: by then nobody listens any more. */
class HungUp implements HangUp {
  readonly #outgoing: ServerResponse;

  constructor(outgoing: ServerResponse) {
    this.#outgoing = outgoing;
  }

  get aborted(): boolean {
    return this.#outgoing.closed && !this.#outgoing.writableFinished;
  }

  addEventListener(_: 'abort', act: () => void): void {
    this.#outgoing.on('close', act);
  }

  removeEventListener(_: 'abort', act: () => void): void {
    this.#outgoing.off('close', act);
  }
}

/** How long a request may take to be read and looked up, in milliseconds, before it is asked anew who sends it: somebody who was sent away meanwhile is to be gone. */
const LATE_MS = 250;

/** Binds a route: to hono, and past it for whoever asks in the usual way. */
export function bind(app: Hono<Env>, direct: Direct, edge: Edge, route: Route): void {
  const { method, path, lines } = route.endpoint;
  const pattern = path.replace(/\{(\w+)\}/g, ':$1');
  const respond = responder(edge, route);
  app.on(method, pattern, async (c) => {
    const { env, req } = c;
    const asking = { ...env, path: req.path, params: req.param() as Record<string, string>, query: req.query() };
    return toResponse(await respond(asking), env.incoming);
  });
  direct.add(method, pattern, lines ? undefined : respond);
}

/** What answers an endpoint's requests: authenticate, authorise, parse, do, encode. Every error becomes a problem document. */
function responder(edge: Edge, { endpoint, verb }: Route): (asking: Asking) => Promise<Answer> {
  const always = flat(edge.headers);
  const excess = excessAnswer(edge.deps.log, always);
  const parseParams = endpoint.params && quickParse(endpoint.params);
  const parseBody = endpoint.body && quickParse(endpoint.body);
  const answer = async (asking: Asking, place: Place): Promise<Answer> => {
    const { incoming } = asking;
    const requestId = requestIdOf(incoming);
    let headers = always;
    let yaml: Yaml | undefined;
    try {
      const address = addressOf(incoming, edge.deps.config.behindProxy);
      const since = performance.now();
      // A turn of the queue also where it is known at once: meanwhile the body comes that was sent with its headers.
      let principal = await principalOf(asking, edge, endpoint, address);
      if (principal.kind === 'key' && principal.requests_per_minute !== null) {
        const left = edge.requests.take(principal.api_key_id, principal.requests_per_minute);
        headers = [...always, ...rateLimitHeaders(left)];
      }
      const params = parseParams ? idsIn(asking.params, parseParams(asking.params)) : {};
      // Before the rest is looked at: a stranger learns nothing about what a body should be.
      authorise(endpoint, principal, params);
      await place.turn();
      if (endpoint.ownership === 'path') await withDeadline(refuseForeign(endpoint, principal, params, edge.owners));
      if (parseBody && !hasCome(incoming)) place.leave();
      const query = endpoint.query ? fitting(endpoint.query.safeParse(storable(asking.query)), '#/query') : {};
      if (endpoint.yaml && isYaml(headerOf(incoming, 'content-type'))) {
        const text = await readText(incoming);
        yaml = await inTurn(() => readYaml(text));
      }
      const given = yaml ? yaml.value : parseBody && (await readJson(incoming, endpoint.vital, endpoint.bodyBytes));
      const whole = endpoint.flat ? unflattened(endpoint.flat, query as object, given) : given;
      const body = parseBody ? fitting(parseBody(whole), '#') : {};
      await place.turn();
      if (performance.now() - since > LATE_MS) {
        principal = await principalOf(asking, edge, endpoint, address, true);
        authorise(endpoint, principal, params);
      }
      const ctx = new Asked(edge.deps, principal, requestId, address, asking);
      const work = promised(verb(ctx, { params, query, body } as InputOf<Endpoint>));
      // A poll waits by itself, for as long as it was asked to.
      const said = await (endpoint.waits ? work : withDeadline(work));
      const status = (query as { dry_run?: unknown }).dry_run === true ? 200 : (endpoint.status ?? 200);
      const asYaml = endpoint.yaml && acceptsYaml(headerOf(incoming, 'accept'));
      const type = asYaml ? 'application/yaml' : 'application/json';
      const own = ['content-type', type, 'x-request-id', requestId, 'date', edge.deps.clock.date()];
      if (endpoint.versioned) own.push('etag', etagOf((said as { version: number }).version));
      return { status, headers: own.concat(headers), body: asYaml ? writeYaml(said) : encoded(said) };
    } catch (error) {
      const dated = ['date', edge.deps.clock.date(), ...headers];
      return problemAnswer(yaml ? yaml.located(error) : error, requestId, edge.deps.log, dated);
    } finally {
      place.leave();
    }
  };
  // Before it is known who asks: a stranger learns nothing by it, and who is refused is not to cost what others do.
  const refuse = ({ incoming }: Asking) => excess(requestIdOf(incoming), edge.deps.clock.date());
  return (asking) => {
    const place = edge.admission.place(endpoint, asking.incoming.socket);
    if (!(place instanceof Promise)) return answer(asking, place);
    return place.then((free) => (free ? answer(asking, free) : refuse(asking)));
  };
}

/** A body with those of its members that came as query parameters. */
function unflattened(names: readonly string[], query: object, body: unknown): unknown {
  const given = Object.entries(query).filter(([name, value]) => value !== undefined && names.includes(name));
  const members = body ?? {};
  // What is no object is refused as what it is.
  if (given.length === 0 || typeof members !== 'object' || Array.isArray(members)) return body;
  const twice = given.find(([name]) => Object.hasOwn(members, name));
  if (!twice) return { ...members, ...Object.fromEntries(given) };
  const [pointer, detail] = [`#/query/${twice[0]}`, 'is in the body too'];
  throw new ProblemError('validation-failed', `${pointer} ${detail}`, { errors: [{ pointer, detail }] });
}

/** Nothing is wrapped that is a promise already: an async function around it would cost three turns of the queue. */
const promised = (answer: unknown): Promise<unknown> => (answer instanceof Promise ? answer : Promise.resolve(answer));

function encoded(answer: unknown): string | JsonLines {
  if (answer instanceof JsonLines) return answer;
  return answer instanceof JsonText ? answer.text : JSON.stringify(answer);
}

/** The caller's own request id where it is a sane one, else a new one. */
export function requestIdOf(incoming: IncomingMessage): string {
  const given = headerOf(incoming, 'x-request-id');
  return given && /^[\w.:-]{1,64}$/.test(given) ? given : newId('req');
}

/** A header as Node has it. Two of one name are joined by a comma, or were refused before. */
const headerOf = ({ headers }: IncomingMessage, name: string): string | undefined =>
  headers[name] as string | undefined;

function principalOf(
  { incoming, path }: Asking,
  edge: Edge,
  endpoint: Endpoint,
  address: string | undefined,
  again = false,
): Promise<Principal> | Principal {
  if (endpoint.principals.includes('public')) return { kind: 'public' };
  const { scheme, token } = shownBy(incoming);
  const { method = '' } = incoming;
  const credential = { scheme, token, proof: headerOf(incoming, 'dpop'), method, path, address, again };
  return authenticate(edge.authenticators, credential);
}

interface Shown {
  authorization: string | undefined;
  apiKey: string | undefined;
  credential: ReturnType<typeof credentialIn>;
}

/** What was shown last on each connection. Shown again it is the same string, and where that is known need not be found out anew from each of its characters. */
const shown = new WeakMap<Socket, Shown>();

function shownBy(incoming: IncomingMessage): Shown['credential'] {
  const authorization = headerOf(incoming, 'authorization');
  const apiKey = headerOf(incoming, 'x-api-key');
  const last = shown.get(incoming.socket);
  if (last && last.authorization === authorization && last.apiKey === apiKey) return last.credential;
  const credential = credentialIn(authorization, apiKey);
  shown.set(incoming.socket, { authorization, apiKey, credential });
  return credential;
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

function fitting(parsed: z.ZodSafeParseResult<unknown>, base: string): unknown {
  if (!parsed.success) throw invalid(base, parsed.error.issues);
  return parsed.data;
}

function idsIn(params: Record<string, string>, parsed: z.ZodSafeParseResult<unknown>): Record<string, unknown> {
  if (parsed.success) return parsed.data as Record<string, unknown>;
  const name = String(parsed.error.issues[0]?.path[0]);
  throw new ProblemError(
    'invalid-id',
    `${name} ${JSON.stringify(params[name]?.slice(0, 80))} ${parsed.error.issues[0]?.message}`,
  );
}
