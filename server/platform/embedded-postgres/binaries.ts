import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { EmbeddedPostgresError } from './error.ts';

/** The programs of one Postgres release, as its npm package installs them. */
export interface Binaries {
  postgres: string;
  initdb: string;
  /** The major version: a cluster is only ever opened by the one that made it. */
  major: number;
}

/** This machine as the packages name it, e.g. `linux-x64`. */
export const platformName = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;

/** Finds the binaries of `packageName` and makes them runnable. */
export async function findBinaries(packageName: string): Promise<Binaries> {
  const found = (await import(packageName).catch((cause: unknown) => {
    throw new EmbeddedPostgresError(
      `no embedded Postgres for ${platformName} (npm package ${packageName} is not installed): set DATABASE_URL to a Postgres 15 or newer`,
      { cause },
    );
  })) as { postgres: string; initdb: string };
  const folder = path.resolve(path.dirname(found.postgres), '../..');
  hydrateLibraryLinks(folder);
  const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as { version: string };
  return { postgres: found.postgres, initdb: found.initdb, major: Number.parseInt(version, 10) };
}

/** npm 12 and `--ignore-scripts` block the package's install script, whose only work is these links. */
function hydrateLibraryLinks(folder: string): void {
  const list = path.join(folder, 'native/pg-symlinks.json');
  if (!existsSync(list)) return;
  for (const link of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const target = path.join(folder, link.target);
    if (existsSync(target)) continue;
    try {
      symlinkSync(path.basename(link.source), target);
    } catch (error) {
      // Another coordinator that starts now may have made it.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
