import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Binaries } from './binaries.ts';
import { EmbeddedPostgresError } from './error.ts';

const run = promisify(execFile);

/** The superuser of every embedded cluster. */
export const POSTGRES_USER = 'muster';
/** Kept inside the cluster's folder, so both appear together; without one any local user would be superuser. */
const PASSWORD_FILE = 'muster.password';
/** nobody: Postgres wants a user with an entry in passwd. */
const NOBODY = 65534;

/** How to start a Postgres program so that it does not see itself run as root. */
export interface Identity {
  wrap(command: string[]): [string, ...string[]];
  ids: { uid?: number; gid?: number };
  env: NodeJS.ProcessEnv;
}

/**
 * Postgres refuses uid 0. For root, a cluster that another user made is run as that user; else root shows Postgres another
 * user in a user namespace (the files stay root's, the pid the same); and where namespaces are off (Docker's default) it
 * is really run as nobody, for whom the folders above must be passable.
 */
export function postgresIdentity(folder: string): Identity {
  const itself = (command: string[]) => command as [string, ...string[]];
  // Not the coordinator's environment, which holds secrets. (Without a locale, Postgres on macOS will not start.)
  const env = { PATH: process.env.PATH, LC_ALL: 'C' };
  if (process.getuid?.() !== 0) return { wrap: itself, ids: {}, env };
  const owner = statSync(folder, { throwIfNoEntry: false });
  if (owner && owner.uid !== 0) return { wrap: itself, ids: { uid: owner.uid, gid: owner.gid }, env };
  const unshare = ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`];
  try {
    execFileSync(unshare[0]!, [...unshare.slice(1), 'true'], { stdio: 'ignore' });
    return { wrap: (command) => itself([...unshare, ...command]), ids: {}, env };
  } catch {
    return { wrap: itself, ids: { uid: NOBODY, gid: NOBODY }, env };
  }
}

/** The password of the cluster in `folder`, which is made first if there is none. */
export async function prepareCluster(folder: string, binaries: Binaries, identity: Identity): Promise<string> {
  if (existsSync(path.join(folder, 'PG_VERSION'))) {
    refuseOtherMajor(folder, binaries.major);
    giveTo(folder, identity);
  } else {
    await createCluster(folder, binaries, identity);
  }
  return readFileSync(path.join(folder, PASSWORD_FILE), 'utf8').trim();
}

function refuseOtherMajor(folder: string, major: number): void {
  const made = readFileSync(path.join(folder, 'PG_VERSION'), 'utf8').trim();
  if (made === String(major)) return;
  throw new EmbeddedPostgresError(
    `the data in ${folder} was written by Postgres ${made}, the embedded Postgres is ${major} and cannot read it: ` +
      `install the Muster release that brought Postgres ${made} to export the data, or move the folder away to start empty`,
  );
}

/** Makes the cluster beside its place and renames it, so that a start that was cut short leaves nothing half made there. */
async function createCluster(folder: string, { initdb, major }: Binaries, identity: Identity): Promise<void> {
  const dataDir = path.dirname(folder);
  const stagePrefix = `${path.basename(folder)}.new-`;
  for (const name of readdirSync(dataDir)) {
    if (name.startsWith(stagePrefix)) rmSync(path.join(dataDir, name), { recursive: true, force: true });
  }
  const stage = mkdtempSync(path.join(dataDir, stagePrefix));
  const cluster = path.join(stage, 'cluster');
  const password = path.join(stage, 'password');
  writeFileSync(password, randomBytes(24).toString('hex'), { mode: 0o600 });
  giveTo(stage, identity);
  // The builtin provider needs no ICU or libc locale data and sorts the same everywhere; it came with 17.
  const locale = major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : [];
  const options = ['-E', 'UTF8', '--locale=C', ...locale, '--auth=scram-sha-256', `--pwfile=${password}`];
  const [command, ...args] = identity.wrap([initdb, '-D', cluster, '-U', POSTGRES_USER, ...options]);
  await run(command, args, { env: identity.env, ...identity.ids });
  renameSync(password, path.join(cluster, PASSWORD_FILE));
  renameSync(cluster, folder);
  rmSync(stage, { recursive: true, force: true });
}

/** Hands what root made to the user Postgres is run as; also a cluster that came to where namespaces are off. */
function giveTo(folder: string, { ids }: Identity): void {
  if (ids.uid === undefined || statSync(folder).uid === ids.uid) return;
  execFileSync('chown', ['-R', `${ids.uid}:${ids.gid}`, folder]);
  // Who is not root must be able to pass through the data folder, which is closed to others.
  const dataDir = path.dirname(folder);
  chmodSync(dataDir, statSync(dataDir).mode | 0o001);
}
