import { chmodSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../platform/config.ts';

/**
 * Reads a secret kept in the data folder, or makes it there with mode 0600. The link is atomic, so that of two
 * coordinators that start at once both end up with the same secret. `made` tells the one that made it.
 */
export function secretFile(
  dataDir: string,
  name: string,
  make: () => string,
): { secret: string; made: boolean; path: string } {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const path = join(dataDir, name);
  const existing = read(path);
  if (existing !== undefined) return { secret: existing, made: false, path };
  const draft = `${path}.${process.pid}.${Date.now()}`;
  writeFileSync(draft, make(), { mode: 0o600, flag: 'wx' });
  chmodSync(draft, 0o600);
  try {
    linkSync(draft, path);
    return { secret: read(path)!, made: true, path };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return { secret: read(path)!, made: false, path };
  } finally {
    rmSync(draft, { force: true });
  }
}

function read(path: string): string | undefined {
  try {
    const others = statSync(path).mode & 0o077;
    if (others && process.platform !== 'win32') {
      throw new ConfigError(
        `${path} can be read by others (mode ${(statSync(path).mode & 0o777).toString(8)}): chmod 600 it, or remove it and a new one is made`,
      );
    }
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
