// How long a first `npm start` takes until its agent is registered, and what an idle coordinator holds in memory.
// Usage: npm run bench:start [-- runs]      Prints the minimum, median and maximum.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const RUNS = Number(process.argv[2] ?? 5);
const ROOT = new URL('..', import.meta.url).pathname;
const IDLE_MS = 10_000;

/** Runs an npm script on a fresh data folder until `line` appears; `then` may look at the process before it is stopped. */
async function run(script, line, then = async () => undefined) {
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  const began = performance.now();
  const child = spawn('npm', ['run', '--silent', script], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, MUSTER_DATA_DIR: dataDir, MUSTER_PORT: '0', DATABASE_URL: '' },
  });
  let output = '';
  const seconds = await new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      output += chunk;
      if (output.includes(line)) resolve((performance.now() - began) / 1_000);
    });
    child.once('exit', () => reject(new Error(`${script} ended before it said ${line}:\n${output}`)));
  });
  const seen = await then(output);
  child.removeAllListeners('exit');
  process.kill(-child.pid, 'SIGINT');
  await once(child, 'exit');
  await pause(500);
  rmSync(dataDir, { recursive: true, force: true });
  return { seconds, seen };
}

const residentMb = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024;

const spread = (values, digits) => {
  const sorted = values.toSorted((a, b) => a - b);
  return [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)]
    .map((value) => value.toFixed(digits))
    .join(' / ');
};

const starts = [];
for (let n = 0; n < RUNS; n += 1) starts.push((await run('start', 'Agent started')).seconds);
console.log(`npm start, empty data folder, to "Agent started": ${spread(starts, 2)} s (min / median / max of ${RUNS})`);

if (process.platform === 'linux') {
  const resident = [];
  for (let n = 0; n < Math.min(RUNS, 3); n += 1) {
    const { seen } = await run('serve', 'coordinator ready', async (output) => {
      await pause(IDLE_MS);
      return residentMb(JSON.parse(output.split('\n').find((text) => text.includes('coordinator ready'))).pid);
    });
    resident.push(seen);
  }
  console.log(
    `npm run serve, idle for ${IDLE_MS / 1_000} s, resident memory: ${spread(resident, 0)} MB (min / median / max of ${resident.length})`,
  );
}
