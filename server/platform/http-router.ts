import type { Result, Router } from 'hono/router';
import { RegExpRouter } from 'hono/router/reg-exp-router';
import { SmartRouter } from 'hono/router/smart-router';
import { TrieRouter } from 'hono/router/trie-router';

/**
 * Finds a path without parameters by a look in a map, and only then looks among the others. Hono's own router does so too,
 * but not where `/agents/leaderboard` is beside `/agents/:agent_id`: then it takes every path apart.
 */
export class StaticFirstRouter<T> implements Router<T> {
  readonly name = 'StaticFirstRouter';
  readonly #static = new Map<string, Map<string, Result<T>>>();
  readonly #others = new SmartRouter<T>({ routers: [new RegExpRouter(), new TrieRouter()] });

  add(method: string, path: string, handler: T): void {
    // A static path would not pass it.
    if (method === 'ALL' || path.includes('*')) throw new Error(`${method} ${path}: middleware is not looked for here`);
    if (path.includes(':')) {
      this.#others.add(method, path, handler);
      return;
    }
    const methods = this.#static.get(path) ?? new Map<string, Result<T>>();
    if (methods.has(method)) throw new Error(`${method} ${path} is there already`);
    this.#static.set(path, methods.set(method, [[[handler, {}]]]));
  }

  match(method: string, path: string): Result<T> {
    return this.#static.get(path)?.get(method) ?? this.#others.match(method, path);
  }
}
