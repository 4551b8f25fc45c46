// Slow headers, slow bodies and slow readers by slowhttptest. They must all be cut off, and nobody else must notice them.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { startCoordinator } from './coordinator.mjs';

const CONNECTIONS = 200;
/** The healthy caller's own, and its probe's. */
const OURS = 3;
/** What a machine's other work may add to a healthy request, in milliseconds. */
const SLACK_MS = 100;
/** Each must be cut off within `seconds`. Slow readers ask five times: less fits into the kernel's buffers. */
const ATTACKS = [
  { name: 'slow headers', seconds: 20, path: '/livez', flags: ['-H', '-i', '3'] },
  {
    name: 'slow body',
    seconds: 45,
    path: '/ains/agents',
    flags: ['-B', '-i', '3', '-s', '8192', '-f', 'application/json'],
  },
  {
    name: 'slow read',
    seconds: 45,
    path: '/docs/swagger-ui-bundle.js',
    flags: ['-X', '-w', '512', '-y', '1024', '-n', '3', '-z', '32', '-k', '5'],
  },
];

/** @returns {Promise<string[]>} what is wrong */
export async function slowHttp() {
  const coordinator = await startCoordinator();
  try {
    const wrong = [];
    await healthy(coordinator, pause(2_000));
    for (const attack of ATTACKS) {
      const before = await healthy(coordinator, pause(5_000));
      const running = run(`${coordinator.url}${attack.path}`, attack);
      const during = await healthy(coordinator, running);
      const ended = await running;
      const figures = `p99 ${before.p99.toFixed(1)} ms before, ${during.p99.toFixed(1)} ms during (${during.count} requests), ${ended.open} of ${ended.peak} connections left after ${ended.after.toFixed(0)} s`;
      console.log(`${attack.name}: ${figures}`);
      if (ended.peak < CONNECTIONS / 2 || ended.open > OURS) wrong.push(`${attack.name}: not cut off: ${figures}`);
      if (during.failed > 0) wrong.push(`${attack.name}: ${during.failed} healthy requests failed`);
      if (during.p99 > 2 * before.p99 + SLACK_MS) wrong.push(`${attack.name}: healthy requests suffered: ${figures}`);
    }
    return wrong;
  } finally {
    await coordinator.stop();
  }
}

/**
 * Runs an attack until the coordinator has cut it off: the tool itself hears of that late, as it reads so slowly.
 * @param {string} url @param {typeof ATTACKS[number]} attack
 */
async function run(url, { flags, seconds }) {
  const args = [...flags, '-c', String(CONNECTIONS), '-r', '100', '-l', String(seconds), '-u', url];
  const attack = spawn('slowhttptest', args, { stdio: 'ignore' });
  const began = performance.now();
  let peak = 0;
  let open = 0;
  while (attack.exitCode === null) {
    await pause(500);
    open = connectionsTo(Number(new URL(url).port));
    peak = Math.max(peak, open);
    if (peak > CONNECTIONS / 2 && open <= OURS) break;
  }
  attack.kill();
  return { peak, open, after: (performance.now() - began) / 1_000 };
}

/** Established connections, as the server has them. @param {number} port */
const connectionsTo = (port) =>
  readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === '01' && parseInt(local?.split(':')[1] ?? '', 16) === port).length;

/**
 * What somebody with good intentions sees meanwhile: the database asked, a key checked.
 * @param {{ url: string, adminKey: string }} coordinator @param {Promise<unknown>} until
 */
async function healthy({ url, adminKey }, until) {
  let over = false;
  const end = () => {
    over = true;
  };
  until.then(end, end);
  /** @type {number[]} */
  const times = [];
  let failed = 0;
  while (!over) {
    for (const path of ['/readyz', '/aitp/tasks?limit=1']) {
      const began = performance.now();
      const reply = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${adminKey}` } });
      await reply.arrayBuffer();
      times.push(performance.now() - began);
      if (!reply.ok) failed += 1;
    }
    await pause(5);
  }
  times.sort((a, b) => a - b);
  return { p99: times[Math.floor(times.length * 0.99)] ?? 0, count: times.length, failed };
}
