import { existsSync, readFileSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../platform/config.ts';
import type { Seal } from './seal.ts';

const head = z.object({
  seal: z.int().min(1),
  hash: z.string(),
  signature: z.string(),
  kid: z.string(),
  sealed_at: z.iso.datetime(),
});
const kept = z.record(z.string(), head);

/** The newest seal of a database that this coordinator has seen. */
export type Head = z.infer<typeof head>;

/**
 * What a coordinator remembers outside the database: a chain that is cut off at its end still holds together, and only
 * somebody who saw its end can tell. It goes by the database, the cluster's number and the database's in it. One that takes
 * another's place has a chain of its own, and the head of the other stays in the file: verifying reports it, so that nobody
 * swaps the database unnoticed, until an operator who meant it removes the file and starts again. A standby, or a backup of the cluster's
 * files, is the same database: where it lacks the end, what was audited is lost, and that too is reported until then.
 */
export interface Heads {
  of(database: string): Head | undefined;
  /** Those of databases other than this. */
  others(database: string): [database: string, head: Head][];
  remember(database: string, seal: Seal): void;
  /** Writes what is new to the file, unless it was written just now. */
  save(): Promise<void>;
}

export const headOf = ({ seal, hash, signature, kid, sealed_at }: Seal): Head => ({
  seal: Number(seal),
  hash,
  signature,
  kid,
  sealed_at,
});

/** How long after one write the next may come, in milliseconds. */
const WRITE_EVERY_MS = 1_000;

/** Reads the remembered heads of a data folder, `audit-head.json`. */
export function openHeads(dataDir: string): Heads {
  const path = join(dataDir, 'audit-head.json');
  const heads = new Map(Object.entries(read(path)));
  let changed = false;
  let writtenAt = Number.NEGATIVE_INFINITY;
  return {
    of: (database) => heads.get(database),
    others: (database) => [...heads].filter(([other]) => other !== database),
    remember(database, seal) {
      heads.set(database, headOf(seal));
      changed = true;
    },
    async save() {
      if (!changed || performance.now() - writtenAt < WRITE_EVERY_MS) return;
      writtenAt = performance.now();
      changed = false;
      // Coordinators that share the folder each remember: the newest stays.
      for (const [database, other] of Object.entries(read(path)))
        if (other.seal > (heads.get(database)?.seal ?? 0)) heads.set(database, other);
      await write(dataDir, path, JSON.stringify(Object.fromEntries(heads))).catch((error) => {
        changed = true;
        throw error;
      });
    },
  };
}

function read(path: string): Record<string, Head> {
  if (!existsSync(path)) return {};
  try {
    return kept.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    throw new ConfigError(
      `${path} cannot be read: it is the end of the audit log as last seen; restore it, or remove it and a new one is made`,
    );
  }
}

/** The file is the old or the new one, never half of it, also after a crash of the machine. */
async function write(dataDir: string, path: string, text: string): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.${Date.now()}`;
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}
