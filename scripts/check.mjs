// `npm run check`: everything that can be known without running the product. One line per step; what failed is printed in full.
import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { performance } from 'node:perf_hooks';

/** @type {Record<string, string>} */
const STEPS = {
  types: 'tsc -p .',
  biome: 'biome check --error-on-warnings .',
  structure: 'node scripts/check-structure.mjs',
  migrations: 'node scripts/check-migrations.mjs',
  openapi: 'tsx --conditions=development scripts/openapi.ts --check',
  lifecycle: 'tsx --conditions=development scripts/lifecycle.ts --check',
  docs: 'node scripts/check-docs.mjs',
};
const env = {
  ...process.env,
  PATH: [join('node_modules', '.bin'), process.env.PATH].join(delimiter),
  FORCE_COLOR: '1',
};

/** @param {string} name @param {string} command @returns {Promise<boolean>} */
function run(name, command) {
  const began = performance.now();
  let output = '';
  const child = spawn(command, { shell: true, env, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  return new Promise((resolve) => {
    child.on('close', (code) => {
      const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(5);
      console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name.padEnd(10)} ${seconds} s`);
      if (code !== 0) console.log(`${output.trimEnd()}\n`);
      resolve(code === 0);
    });
  });
}

const results = await Promise.all(Object.entries(STEPS).map(([name, command]) => run(name, command)));
process.exitCode = results.every(Boolean) ? 0 : 1;
