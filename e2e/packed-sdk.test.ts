import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { enrollment, tasks } from '@muster/shared/contract/index';
import { eventually, startCoordinator } from '@muster/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
// A user's shell, not this checkout's: no conditions, nothing of the npm that runs the tests.
const env = { PATH: process.env.PATH, HOME: process.env.HOME };

interface Packed {
  filename: string;
  files: { path: string }[];
}

/** What the README tells authors to write. */
const AGENT = `
import { createAgent } from '@muster/agent';
const [url, enrollment_token] = process.argv.slice(2);
const agent = createAgent({
  url,
  enrollment_token,
  handlers: { 'word-count': ({ input_data }) => ({ words: input_data.text.split(' ').length }) },
});
process.once('SIGTERM', () => agent.drain());
await agent.start();
await agent.done;
`;

let scratch: string;
let project: string;
let packed: Packed[];

/** A fresh project with the packed SDK in it, as a user would have it from the registry. */
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'muster-packed-'));
  project = join(scratch, 'project');
  await mkdir(project);
  await run('node', ['scripts/build.mjs'], { cwd: root, env });
  const pack = ['pack', '--json', '--pack-destination', scratch, '-w', '@muster/shared', '-w', '@muster/agent'];
  packed = JSON.parse((await run('npm', pack, { cwd: root, env })).stdout) as Packed[];
  await writeFile(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const tarballs = packed.map(({ filename }) => join(scratch, filename));
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...tarballs], { cwd: project, env });
}, 240_000);

afterAll(() => rm(scratch, { recursive: true, force: true }));

test('the tarballs hold compiled code and its types, no sources and no tests', () => {
  expect(packed.map(({ filename }) => filename)).toEqual(['muster-shared-0.1.0.tgz', 'muster-agent-0.1.0.tgz']);
  const files = packed.flatMap(({ files }) => files.map(({ path }) => path));
  expect(files).toEqual(expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/main.js', 'dist/client.js']));
  expect(files.filter((path) => !/^(package\.json|README\.md|dist\/.*\.(js|d\.ts))$/.test(path))).toEqual([]);
  expect(files.filter((path) => /\.test\b|^dist\/testing\//.test(path))).toEqual([]);
});

test('an agent in plain JavaScript, installed from the tarballs, completes a task', async () => {
  await writeFile(join(project, 'agent.js'), AGENT);
  const coordinator = await startCoordinator();
  try {
    const { enrollment_token } = await coordinator.admin(enrollment.createEnrollmentToken, { body: {} });
    const agent = spawn('node', ['agent.js', coordinator.url, enrollment_token], {
      cwd: project,
      env,
      stdio: 'inherit',
    });
    const exited = once(agent, 'exit');
    const { task_id } = await coordinator.admin(tasks.createTask, {
      body: { task_type: 'word-count', input_data: { text: 'to be or not to be' } },
    });
    const completed = async () => {
      const task = await coordinator.admin(tasks.getTask, { params: { task_id } });
      return task.status === 'COMPLETED' && task;
    };
    const task = await eventually(completed, { timeoutMs: 20_000 }).finally(() => agent.kill('SIGTERM'));
    expect(task.result_data).toEqual({ words: 6 });
    expect(await exited).toEqual([0, null]);
  } finally {
    await coordinator.stop();
  }
});
