import type { CallOf, Endpoint, ResponseOf } from './contract/endpoint.ts';
import { PROBLEMS, type Problem, ProblemError } from './errors.ts';

export interface ClientOptions {
  /** Where the coordinator answers, e.g. `http://127.0.0.1:8000`. */
  url: string;
  /** The bearer credential of the next request: an admin key or an agent's access token. */
  credential?: string | (() => string | undefined | Promise<string | undefined>);
  /** Any fetch; the global one unless said. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** Calls one endpoint once. Retrying is for the layer above. */
export type Client = <E extends Endpoint>(
  endpoint: E,
  call: CallOf<E>,
  options?: CallOptions,
) => Promise<ResponseOf<E>>;

/** The typed client: one request a call, a {@link ProblemError} for every problem the coordinator answers. */
export function createClient({ url, credential, fetch: send = fetch }: ClientOptions): Client {
  const base = url.replace(/\/+$/, '');
  return async (endpoint, call, options = {}) => {
    const token = typeof credential === 'function' ? await credential() : credential;
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const response = await send(base + pathOf(endpoint, call.params) + searchOf(call.query), {
      method: endpoint.method,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...options.headers,
      },
      ...(body === undefined ? {} : { body }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
    if (!response.ok) throw await problemOf(response);
    return (endpoint.lines ? linesOf(await response.text()) : await response.json()) as ResponseOf<typeof endpoint>;
  };
}

function pathOf(endpoint: Endpoint, params: Record<string, unknown> = {}): string {
  return endpoint.path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(params[name])));
}

function searchOf(query: Record<string, unknown> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  return search.size ? `?${search}` : '';
}

/** The documents of an answer that is one a line. */
export const linesOf = (text: string): unknown[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/** What an answer that is not a success means. One without a problem document comes from something in between (a proxy's page): try later. */
async function problemOf(response: Response): Promise<ProblemError> {
  const problem = (await response.json().catch(() => undefined)) as Partial<Problem> | undefined;
  if (problem?.code && problem.code in PROBLEMS) {
    return new ProblemError(problem.code, problem.detail ?? '', problem.errors ? { errors: problem.errors } : {});
  }
  return new ProblemError('overloaded', `the answer was ${response.status} without a problem document`);
}
