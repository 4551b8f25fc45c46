import type { JsonWebKey } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeKey, readKey } from './key-file.ts';

/**
 * The agent's keys: the one it has, and while a rotation may be under way the one it is to have. Both are on disk then, so
 * that whichever of them the coordinator takes can be found after a crash.
 */
export class AgentKeys {
  readonly #path: string;
  readonly #nextPath: string;
  #current: JsonWebKey;
  #next: JsonWebKey | undefined;
  #written: Promise<void> = Promise.resolve();

  private constructor(path: string, nextPath: string, current: JsonWebKey, next: JsonWebKey | undefined) {
    this.#path = path;
    this.#nextPath = nextPath;
    this.#current = current;
    this.#next = next;
  }

  /** Reads what is in `keyDir`; makes a first key where none is. */
  static async load(keyDir: string): Promise<AgentKeys> {
    const [path, nextPath] = [join(keyDir, 'agent-key.json'), join(keyDir, 'agent-key.next.json')];
    return new AgentKeys(path, nextPath, (await readKey(path)) ?? (await makeKey(path)), await readKey(nextPath));
  }

  get current(): JsonWebKey {
    return this.#current;
  }

  get next(): JsonWebKey | undefined {
    return this.#next;
  }

  /** The key to rotate to: on disk before anybody hears of it. One is used again whose rotation had no certain end. */
  async prepare(): Promise<JsonWebKey> {
    // The last one must be in its place: this one takes its name.
    await this.#written.catch(() => this.#place());
    this.#next ??= await makeKey(this.#nextPath);
    return this.#next;
  }

  /** The coordinator takes this key: if it is the next one, it is the agent's from now on. */
  took(key: JsonWebKey): Promise<void> {
    if (this.#next?.x === key.x) {
      this.#current = this.#next!;
      this.#next = undefined;
      return this.#place();
    }
    return this.#written;
  }

  #place(): Promise<void> {
    this.#written = rename(this.#nextPath, this.#path);
    return this.#written;
  }

  /** The next key will never be taken. */
  async forgetNext(): Promise<void> {
    if (!this.#next) return;
    this.#next = undefined;
    await rm(this.#nextPath, { force: true });
  }
}
