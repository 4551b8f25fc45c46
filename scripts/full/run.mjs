// `npm run test:full`: what needs more than Node. Each part says so and is skipped where its tool is not installed.
import { spawn } from 'node:child_process';
import { slowHttp } from './slow-http.mjs';

/** @type {{ name: string, tool: string, install: string, run: () => Promise<string[]> }[]} each answers what is wrong */
const PARTS = [{ name: 'slow callers', tool: 'slowhttptest', install: 'apt install slowhttptest', run: slowHttp }];

/** @param {string} tool @returns {Promise<boolean>} */
const isInstalled = (tool) =>
  new Promise((resolve) => {
    const child = spawn(tool, ['-h'], { stdio: 'ignore' });
    child.once('error', () => resolve(false));
    child.once('exit', () => resolve(true));
  });

if (process.platform !== 'linux') {
  console.log('skipped: it looks at connections as only Linux tells them');
  process.exit(0);
}
for (const { name, tool, install, run } of PARTS) {
  if (!(await isInstalled(tool))) {
    console.log(`${name}: skipped: ${tool} is not installed (${install})`);
    continue;
  }
  const wrong = await run();
  for (const what of wrong) console.log(`${name}: FAILED: ${what}`);
  if (wrong.length > 0) process.exitCode = 1;
  else console.log(`${name}: ok`);
}
