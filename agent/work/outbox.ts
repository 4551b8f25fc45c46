import { mkdirSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { result } from '@muster/shared/contract/dispatch';
import { writePrivateFile } from '../identity/atomic-file.ts';
import type { Weighed } from './outcome.ts';

/** Results that could not be delivered, one file each, so that they outlive the process. */
export class Outbox {
  readonly #folder: string;

  constructor(keyDir: string) {
    this.#folder = join(keyDir, 'outbox');
  }

  /** What an earlier life could not deliver. A file that cannot be read is left alone and skipped. */
  async load(): Promise<Weighed[]> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const names = (await readdir(this.#folder)).filter((name) => name.endsWith('.json')).sort();
    const loaded = await Promise.all(names.map((name) => this.#read(name)));
    return loaded.filter((weighed) => weighed !== undefined);
  }

  keep = ({ result }: Weighed): Promise<void> => writePrivateFile(this.#path(result.run_id), JSON.stringify(result));

  drop = (runId: string): Promise<void> => rm(this.#path(runId), { force: true });

  async #read(name: string): Promise<Weighed | undefined> {
    const text = await readFile(join(this.#folder, name), 'utf8').catch(() => '');
    try {
      return { result: result.parse(JSON.parse(text)), bytes: Buffer.byteLength(text) + 1 };
    } catch {
      return undefined;
    }
  }

  #path = (runId: string) => join(this.#folder, `${runId}.json`);
}
