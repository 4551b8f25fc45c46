import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

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
  const own = path.join(claims, lifeOf(process.pid) ?? String(process.pid));
  for (let tries = 1; ; tries += 1) {
    const holder = claim(own) ? otherHolder(claims, own) : process.pid;
    if (holder === undefined) return { release: async () => rmSync(own, { force: true }) };
    if (holder !== process.pid) rmSync(own, { force: true });
    if (tries === TRIES || holder === process.pid) {
      throw new Error(
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
    if (lifeOf(pid) === name) return pid;
    rmSync(path.join(claims, name), { force: true });
  }
}

/** Names one life of a process (pid, boot, start time), so that a number used again is not taken for the old holder. */
function lifeOf(pid: number): string | undefined {
  if (!isAlive(pid)) return undefined;
  try {
    if (process.platform === 'linux') {
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
      // Field 22 is the start time; the name in field 2 may hold blanks, so count from its closing bracket.
      const started = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
      return `${pid}-${boot}-${started}`;
    }
    const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      env: { LC_ALL: 'C' },
    });
    return `${pid}-${started.trim().replace(/\W+/g, '-')}`;
  } catch {
    return isAlive(pid) ? String(pid) : undefined;
  }
}

/** Whether a process with this number exists, be it ours or not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
