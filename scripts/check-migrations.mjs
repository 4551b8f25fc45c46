// Fails when server/schema says more than drizzle/ does: generates into a copy and looks whether anything new appeared.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

const migrationsIn = (/** @type {string} */ folder) => readdirSync(folder).filter((name) => name.endsWith('.sql'));

/** @param {string[]} args */
const drizzleKit = (...args) => {
  try {
    return execFileSync(join('node_modules', '.bin', 'drizzle-kit'), args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '--conditions=development' },
      timeout: 300_000,
    });
  } catch (error) {
    const { stdout, stderr } = /** @type {{ stdout: string, stderr: string }} */ (error);
    throw new Error(`drizzle-kit ${args.join(' ')}\n${stdout}${stderr}`);
  }
};

const copy = mkdtempSync(join(tmpdir(), 'muster-drizzle-'));
try {
  cpSync('drizzle', join(copy, 'out'), { recursive: true });
  const config = join(copy, 'drizzle.config.ts');
  // drizzle-kit takes `out` as relative to where it runs.
  const settings = { out: relative('.', join(copy, 'out')) };
  writeFileSync(
    config,
    `import config from ${JSON.stringify(resolve('drizzle.config.ts'))};\nexport default { ...config, ...${JSON.stringify(settings)} };\n`,
  );
  drizzleKit('check', `--config=${config}`);
  const said = drizzleKit('generate', `--config=${config}`, '--name=drift');
  const before = migrationsIn('drizzle');
  const drift = migrationsIn(join(copy, 'out')).filter((name) => !before.includes(name));
  if (drift.length > 0) {
    console.error(`server/schema and drizzle/ differ. Run: npm run db:generate -- --name <what-changed>\n${said}`);
    process.exitCode = 1;
  } else if (!said.includes('No schema changes')) {
    // Asked about a rename it has nobody to ask, drizzle-kit ends quietly.
    console.error(`drizzle-kit could not compare server/schema with drizzle/. Run: npm run db:generate\n${said}`);
    process.exitCode = 1;
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(copy, { recursive: true, force: true });
}
