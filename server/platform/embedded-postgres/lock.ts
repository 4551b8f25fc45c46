import { closeSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EmbeddedPostgresError } from './error.ts';
import { findProcess } from './process.ts';

/** A data folder that is ours until released. */
export interface DataDirLock {
  release(): Promise<void>;
}

const TRIES = 4;

/**
 * Takes a data folder for this process, or says which live one has it. `coordinator.lock` is a folder of claims, each an
 * empty file named for one life of a process. A claimant writes its own first and looks for others after, so of two
 * that start together at least one sees the other; and a dead one's claim can be removed without a race, because no
 * later process ever has its name.
 */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const claims = path.resolve(dataDir, 'coordinator.lock');
  mkdirSync(claims, { recursive: true, mode: 0o700 });
  const own = path.join(claims, findProcess(process.pid)?.life ?? String(process.pid));
  for (let tries = 1; ; tries += 1) {
    const holder = claim(own) ? otherHolder(claims, own) : process.pid;
    if (holder === undefined) return { release: async () => rmSync(own, { force: true }) };
    if (holder !== process.pid) rmSync(own, { force: true });
    if (tries === TRIES || holder === process.pid) {
      throw new EmbeddedPostgresError(
        `the data folder ${path.dirname(claims)} is in use by another coordinator (pid ${holder}): stop that one, or give this one its own MUSTER_DATA_DIR`,
      );
    }
    // Two that start together refuse each other; a random pause lets one of them win.
    await pause(10 + Math.random() * 50 * tries);
  }
}

function claim(file: string): boolean {
  try {
    closeSync(openSync(file, 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function otherHolder(claims: string, own: string): number | undefined {
  for (const name of readdirSync(claims)) {
    if (name === path.basename(own)) continue;
    const pid = Number.parseInt(name, 10);
    if (findProcess(pid)?.life === name) return pid;
    rmSync(path.join(claims, name), { force: true });
  }
}
