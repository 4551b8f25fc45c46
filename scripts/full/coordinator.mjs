// A coordinator of its own for a test from outside: on loopback, with an embedded Postgres, gone without a trace afterwards.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** @returns {Promise<{ url: string, adminKey: string, stop(): Promise<void> }>} */
export async function startCoordinator() {
  const folder = mkdtempSync(join(tmpdir(), 'muster-full-'));
  const adminKey = randomBytes(24).toString('hex');
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, MUSTER_PORT: '0', MUSTER_DATA_DIR: folder, MUSTER_ADMIN_KEY: adminKey };
  const child = spawn(process.execPath, ['--import', 'tsx', '--conditions=development', 'server/main.ts'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  for await (const line of createInterface({ input: child.stdout })) {
    const { msg, url } = line.startsWith('{') ? JSON.parse(line) : {};
    if (msg !== 'coordinator ready') continue;
    // Whatever it says from now on must not fill the pipe.
    child.stdout.resume();
    return { url, adminKey, stop };
  }
  await stop();
  throw new Error('the coordinator did not start');
}
