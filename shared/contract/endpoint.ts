import type { z } from 'zod';
import type { ProblemCode } from '../errors.ts';
import type { Scope } from './scopes.ts';

/** Who may call: anybody, the holder of an API key, an agent (for its own affairs). */
export type PrincipalKind = 'public' | 'key' | 'agent';

/** An endpoint as plain data. The server's binder, the client, OpenAPI and the generated tests are its readers. */
export interface Endpoint {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path with `{names}` as in OpenAPI. */
  path: string;
  summary: string;
  tag: string;
  principals: readonly PrincipalKind[];
  /** What an API key must be for; without one only an admin's is good enough. */
  scope?: Scope;
  /**
   * Whose things it is about. A caller that is not an admin has only its own: `path` the thing the path names, which is
   * otherwise not found; `list` those listed or chosen by a filter; `new` what it makes. `none`: nobody's in particular.
   */
  ownership?: 'path' | 'list' | 'new' | 'none';
  /** What the audit log calls the change, when an API key makes it. */
  audit?: string;
  /** An `Idempotency-Key` header makes the same request count once, for a day. */
  idempotent?: boolean;
  /** Answered first and never refused for being one too many: leases depend on it. */
  vital?: boolean;
  params?: z.ZodObject;
  query?: z.ZodObject;
  body?: z.ZodType;
  /** The longest body, in bytes; 1 MiB unless said. */
  bodyBytes?: number;
  /** The body may be left out. */
  bodyOptional?: boolean;
  /** The answer may be held back until there is something to say. */
  waits?: boolean;
  /** The answer is JSON documents, one a line and as many as there are; `response` is the list of them. */
  lines?: boolean;
  response: z.ZodType;
  /** Status of success; 200 unless said. */
  status?: 200 | 201;
  /** Problems beyond those any endpoint may answer. */
  problems?: readonly ProblemCode[];
}

type Out<T> = T extends z.ZodType ? z.output<T> : Record<never, never>;
type In<T> = T extends z.ZodType ? z.input<T> : undefined;

/** What a verb receives: parsed, defaults filled in. */
export interface InputOf<E extends Endpoint> {
  params: Out<E['params']>;
  query: Out<E['query']>;
  body: Out<E['body']>;
}

/** What a caller sends. */
export type CallOf<E extends Endpoint> = (E['params'] extends z.ZodType
  ? { params: z.input<E['params']> }
  : { params?: undefined }) &
  (E['query'] extends z.ZodType ? { query?: z.input<E['query']> } : { query?: undefined }) &
  (E['body'] extends z.ZodType
    ? E['bodyOptional'] extends true
      ? { body?: In<E['body']> }
      : { body: In<E['body']> }
    : { body?: undefined });

export type ResponseOf<E extends Endpoint> = z.output<E['response']>;

export const endpoint = <const E extends Endpoint>(definition: E): E => definition;
