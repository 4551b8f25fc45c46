import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** Whose packages are our own workspaces: they have to be the copy's. */
const SCOPE = '@muster';

/** A copy of the tree that may be changed: of what git knows or would, with the same packages installed. */
export interface Tree {
  root: string;
  remove(): void;
}

export function copyTree(): Tree {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'muster-mutants-')));
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'];
  const files = execFileSync('git', list, { cwd: REPOSITORY, encoding: 'utf8' });
  for (const file of files.split('\0').filter(Boolean)) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    cpSync(join(REPOSITORY, file), join(root, file));
  }
  linkPackages(root);
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) };
}

function linkPackages(root: string): void {
  const installed = join(REPOSITORY, 'node_modules');
  mkdirSync(join(root, 'node_modules', SCOPE), { recursive: true });
  for (const name of readdirSync(installed))
    if (name !== SCOPE && name !== '.vite') symlinkSync(join(installed, name), join(root, 'node_modules', name));
  for (const name of readdirSync(join(installed, SCOPE)))
    symlinkSync(join(root, name), join(root, 'node_modules', SCOPE, name));
}
