import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Answer, Asking } from './http-answer.ts';
import { StaticFirstRouter } from './http-router.ts';

/** A path of plain characters, which nobody writes in another way, and a host that needs no second look. */
const PLAIN_PATH = /^[\w/-]+$/;
const PLAIN_HOST = /^[a-z0-9._-]+(:[1-9]\d{3}|:[1-5]\d{4})?$/;
const NONE = {};

type Respond = (asking: Asking) => Promise<Answer>;

/**
 * The short way to an endpoint, past hono: the request, context and answer it makes of its own take as long as all the rest of
 * the edge. Whatever is written in an unusual way, or has a query, is left to it.
 */
export class Direct {
  readonly #router = new StaticFirstRouter<Respond | undefined>();

  /** Every path is to be told, in the same order as to hono; what has no short way also hides those that come after it. */
  add(method: string, path: string, respond: Respond | undefined): void {
    this.#router.add(method, path, respond);
  }

  /** The answer; undefined where it is for hono. */
  readonly answer = (incoming: IncomingMessage, outgoing: ServerResponse): Promise<Answer> | undefined => {
    const { method = '', url: path = '', headers } = incoming;
    if (!PLAIN_PATH.test(path) || !PLAIN_HOST.test(headers.host ?? '')) return undefined;
    const [[hit]] = this.#router.match(method, path);
    return hit?.[0]?.({ incoming, outgoing, path, params: hit[1], query: NONE });
  };
}
