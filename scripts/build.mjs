// `npm run build`: what `npm pack` ships. One compilation of all that is shipped, then each workspace takes its part into its `dist`.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { workspaces } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const packages = workspaces.filter(
  (/** @type {string} */ name) => !JSON.parse(readFileSync(join(root, name, 'package.json'), 'utf8')).private,
);

const NOT_SHIPPED = /(^|\/)(node_modules|dist|drizzle|testing|package\.json|[^/]*\.md|\.[^/]*)(\/|$)/;

/** Copies what a package ships of a folder. @param {string} from @param {string} to @param {(path: string) => boolean} wanted */
const copy = (from, to, wanted = () => true) =>
  cpSync(from, to, {
    recursive: true,
    filter: (path) => {
      const inside = relative(from, path).split(sep).join('/');
      return inside === '' || (!NOT_SHIPPED.test(inside) && (statSync(path).isDirectory() || wanted(inside)));
    },
  });

const compiled = mkdtempSync(join(tmpdir(), 'muster-build-'));
try {
  const tsc = join(root, 'node_modules', '.bin', 'tsc');
  execFileSync(tsc, ['-p', join(root, 'tsconfig.build.json'), '--outDir', compiled], { stdio: 'inherit' });
  for (const name of packages) {
    const dist = join(root, name, 'dist');
    rmSync(dist, { recursive: true, force: true });
    // The compiler leaves pages, SQL and the like behind.
    copy(join(root, name), join(compiled, name), (path) => !/\.(ts|js|mjs)$/.test(path));
    copy(join(compiled, name), dist);
  }
  // The server finds its migrations here when there is no checkout around it.
  cpSync(join(root, 'drizzle'), join(root, 'server', 'dist', 'drizzle'), { recursive: true });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(compiled, { recursive: true, force: true });
}
