import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { agents, dispatch } from '@muster/shared/contract/index';
import { newId, runIdOf } from '@muster/shared/ids';
import { Doorkeeper, Refused } from './doorkeeper.ts';

/** A request as it came. */
export interface Seen {
  kind: Kind;
  path: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape.
  body: any;
  authorization: string | undefined;
  /** The DPoP header. */
  proof: string | undefined;
  at: number;
}

const ROUTES = [
  ['register', 'POST', /^\/ains\/agents$/, agents.registerAgent],
  ['token', 'POST', /^\/ains\/agents\/[^/]+\/token$/, agents.createAccessToken],
  ['rotate', 'POST', /^\/ains\/agents\/[^/]+\/rotate-key$/, agents.rotateAgentKey],
  ['heartbeat', 'POST', /\/heartbeat$/, dispatch.heartbeat],
  ['poll', 'POST', /\/poll$/, dispatch.poll],
  ['leave', 'POST', /\/leave$/, dispatch.leave],
  ['start', 'POST', /\/start$/, dispatch.startRun],
  ['progress', 'POST', /\/progress$/, dispatch.progressRun],
  ['capabilities', 'PUT', /\/capabilities$/, agents.putCapabilities],
  ['update', 'PATCH', /^\/ains\/agents\/[^/]+$/, agents.updateAgent],
] as const;
export type Kind = (typeof ROUTES)[number][0];

/**
 * What a script answers instead of the usual: a problem, nothing at all (`hang`), a cut connection, one that is cut when the
 * usual has been done (`lose`), the usual when a promise says so, or other members.
 */
export type Scripted =
  | { status: number; code: string }
  | 'hang'
  | 'cut'
  | 'lose'
  | Promise<void>
  | Record<string, unknown>;
type Script = (seen: Seen) => Scripted | undefined;

/**
 * A coordinator over real HTTP that keeps what it is sent, refuses what the contract refuses, and answers as scripted.
 * Hand-outs wait in `queue`; a poll with free slots takes them, or parks until there are some. A poll that parks ends the
 * one that was parked before.
 */
export class FakeCoordinator {
  readonly seen: Seen[] = [];
  readonly door = new Doorkeeper();
  intervalMs = 200;
  leaseTtlMs = 30_000;
  pollWaitMs = 20_000;
  tokenLifeMs = 600_000;
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  readonly #scripts = new Map<Kind, Script>();
  readonly #queue: unknown[] = [];
  #waiters: { until: (seen: Seen) => boolean; resolve: (seen: Seen) => void }[] = [];
  #parked: (() => void)[] = [];
  #fence = 0;

  /** Listens, on the port it had before if it was closed. */
  async listen(port = 0): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
  }

  get agentId(): string {
    return this.door.agentId;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Answers requests of one kind as the script says; what it leaves undefined is answered as usual. */
  on(kind: Kind, script: Script): void {
    this.#scripts.set(kind, script);
  }

  off(kind: Kind): void {
    this.#scripts.delete(kind);
  }

  /** Queues a run; its id. */
  hand(task_type: string, input_data: unknown = null, more: Record<string, unknown> = {}): string {
    this.#fence += 1;
    const run_id = runIdOf(this.#fence);
    const about = { run_id, fence: this.#fence, task_id: newId('task'), task_type, capability_required: task_type };
    this.#queue.push({ ...about, input_data, attempt: 1, timeout_seconds: 60, ...more });
    for (const wake of this.#parked.splice(0)) wake();
    return run_id;
  }

  of = (kind: Kind): Seen[] => this.seen.filter((one) => one.kind === kind);

  /** The first request of a kind, past or to come, that `matches`. */
  until(kind: Kind, matches: (seen: Seen) => boolean = () => true): Promise<Seen> {
    const until = (one: Seen) => one.kind === kind && matches(one);
    const past = this.seen.find(until);
    return past ? Promise.resolve(past) : new Promise((resolve) => this.#waiters.push({ until, resolve }));
  }

  /** The next request of a kind, from now on. */
  next(kind: Kind): Promise<Seen> {
    const before = new Set(this.seen);
    return this.until(kind, (seen) => !before.has(seen));
  }

  /** The result of a run, whichever poll brings it. */
  async result(run_id: string) {
    const of = (seen: Seen) => seen.body.results?.find((one: { run_id: string }) => one.run_id === run_id);
    return of(await this.until('poll', (seen) => of(seen) !== undefined));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    response.setHeader('date', this.door.now().toUTCString());
    const route = ROUTES.find(([, method, pattern]) => method === request.method && pattern.test(path));
    const text = await bodyOf(request);
    if (!route) return problem(response, 404, 'not-found', `${request.method} ${path}`);
    const [kind, , , endpoint] = route;
    const parsed = endpoint.body.safeParse(JSON.parse(text));
    const { authorization, dpop: proof } = request.headers as Record<string, string | undefined>;
    const seen: Seen = { kind, path, body: JSON.parse(text), authorization, proof, at: performance.now() };
    this.#keep(seen);
    if (!parsed.success) return problem(response, 422, 'validation-failed', parsed.error.message);
    const scripted = this.#scripts.get(kind)?.(seen);
    if (scripted === 'hang') return;
    if (scripted === 'cut') return void response.destroy();
    if (isProblem(scripted)) return problem(response, scripted.status, scripted.code, 'as scripted');
    const asked = { method: request.method!, url: this.url + path, headers: request.headers };
    const own = typeof scripted === 'object' && !(scripted instanceof Promise) ? scripted : undefined;
    try {
      const session = await this.#session(seen, asked);
      if (scripted === 'lose') return void response.destroy();
      await scripted;
      const usual = session ?? (await this.#usual(own && 'runs' in own ? { ...seen, body: {} } : seen, response));
      this.#answer(kind, { ...usual, ...own }, response);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      problem(response, 401, error.code, error.message);
    }
  }

  #answer(kind: Kind, body: object, response: ServerResponse): void {
    if (response.destroyed) return;
    response.writeHead(kind === 'register' ? 201 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  #keep(seen: Seen): void {
    this.seen.push(seen);
    this.#waiters = this.#waiters.filter(({ until, resolve }) => {
      if (!until(seen)) return true;
      resolve(seen);
      return false;
    });
  }

  async #usual({ kind, body }: Seen, response: ServerResponse): Promise<Record<string, unknown>> {
    if (kind === 'heartbeat') return this.#beat();
    if (kind === 'poll') return this.#poll(body, response);
    if (kind === 'leave') return { requeued: 0 };
    return { applied: true, cancel: false };
  }

  /** What is granted by word of a key; any other request must come with a token. */
  async #session({ kind, body }: Seen, asked: Parameters<Doorkeeper['admit']>[0]) {
    const { door } = this;
    if (kind === 'register')
      return { ...this.#granted(await door.register(body.registration, asked)), ...this.#terms() };
    if (kind === 'token') return this.#granted(await door.assert(body.assertion, asked));
    if (kind === 'rotate') return this.#granted(await door.rotate(body, asked));
    await door.admit(asked);
    return undefined;
  }

  #granted({ access_token, x }: { access_token: string; x: string | undefined }) {
    const access_token_expires_at = new Date(Date.now() + this.tokenLifeMs).toISOString();
    const token_type = x === undefined ? 'Bearer' : 'DPoP';
    return { agent_id: this.agentId, access_token, access_token_expires_at, token_type };
  }

  #terms() {
    return { heartbeat_interval_ms: this.intervalMs, lease_ttl_ms: this.leaseTtlMs, poll_wait_ms: this.pollWaitMs };
  }

  #beat() {
    const now = Date.now();
    const [server_time, lease_expires_at] = [now, now + this.leaseTtlMs].map((ms) => new Date(ms).toISOString());
    const order = { lost: [], cancel: [], drain: false };
    return { acknowledged: true, server_time, lease_expires_at, heartbeat_interval_ms: this.intervalMs, ...order };
  }

  // biome-ignore lint/suspicious/noExplicitAny: the contract has parsed it.
  async #poll({ slots, wait_ms, results = [] }: any, response: ServerResponse): Promise<Record<string, unknown>> {
    if ((slots === 0 || this.#queue.length === 0) && wait_ms > 0 && results.length === 0) {
      for (const end of this.#parked.splice(0)) end();
      await new Promise<void>((resolve) => {
        this.#parked.push(resolve);
        response.once('close', resolve);
        setTimeout(resolve, wait_ms).unref();
      });
    }
    const runs = response.destroyed ? [] : this.#queue.splice(0, slots);
    const confirmed = results.map(({ run_id }: { run_id: string }) => ({ run_id, applied: true }));
    return { runs, results: confirmed, lease_expires_at: this.#beat().lease_expires_at };
  }
}

const isProblem = (scripted: Scripted | undefined): scripted is { status: number; code: string } =>
  typeof scripted === 'object' && 'status' in scripted && 'code' in scripted;

function problem(response: ServerResponse, status: number, code: string, detail: string): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ type: 'about:blank', title: code, status, code, detail }));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  return text || '{}';
}
