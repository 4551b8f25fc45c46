import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { enrollment, tasks } from '@muster/shared/contract/index';
import { eventually, startCoordinator } from '@muster/testing';
import { scratchFolder } from '@muster/testing/scratch';
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

/** What somebody else tests with the kit, in words of docs/testing.md. */
const TEST = `
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { createSupervisor, startCoordinator, startFleet } from '@muster/testing';
const one = await startCoordinator();
const since = performance.now();
const two = await startCoordinator();
const second_ms = performance.now() - since;
const fleet = await startFleet({ coordinator: one, agents: 3 });
await one.clock.advance('3d');
await fleet.submit();
await fleet.drained();
const { lost, counts } = await fleet.report();
await fleet.stop();
const supervisor = createSupervisor();
const { admin, url } = await supervisor.coordinator();
const { enrollment_token } = await admin(createEnrollmentToken, { body: {} });
const agent = await supervisor.agent({ url, enrollment_token });
const exit_code = await agent.stop();
await Promise.all([supervisor.stop(), one.stop(), two.stop()]);
console.log(JSON.stringify({ second_ms, lost, completed: counts.completed, exit_code }));
process.exit();
`;

/** Thousands of files are put there. */
const { path: scratch, remove } = scratchFolder('packed');
let project: string;
let packed: Packed[];

/** A new project with packages in it, as their user would have them from the registry. */
async function aProject(name: string, packages: readonly Packed[]): Promise<string> {
  const folder = join(scratch, name);
  await mkdir(folder);
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const tarballs = packages.map(({ filename }) => join(scratch, filename));
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...tarballs], { cwd: folder, env });
  return folder;
}

beforeAll(async () => {
  await run('node', ['scripts/build.mjs'], { cwd: root, env });
  const workspaces = ['shared', 'agent', 'server', 'testing'].flatMap((name) => ['-w', `@muster/${name}`]);
  const pack = ['pack', '--json', '--pack-destination', scratch, ...workspaces];
  packed = JSON.parse((await run('npm', pack, { cwd: root, env })).stdout) as Packed[];
  project = await aProject('project', packed.slice(0, 2));
}, 600_000);

afterAll(remove);

test('the tarballs hold compiled code and its types, no sources and no tests', () => {
  const names = ['shared', 'agent', 'server', 'testing'];
  expect(packed.map(({ filename }) => filename)).toEqual(names.map((name) => `muster-${name}-0.1.0.tgz`));
  const files = packed.flatMap(({ files }) => files.map(({ path }) => path));
  expect(files).toEqual(expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/main.js', 'dist/client.js']));
  const sdk = packed.slice(0, 2).flatMap(({ files }) => files.map(({ path }) => path));
  expect(sdk.filter((path) => !/^(package\.json|README\.md|dist\/.*\.(js|d\.ts))$/.test(path))).toEqual([]);
  expect(files.filter((path) => /\.test\b|^dist\/testing\/|(?<!\.d)\.ts$/.test(path))).toEqual([]);
});

test('a test in plain JavaScript that is not ours starts coordinators, a fleet and processes, and leaves nothing', async () => {
  const theirs = await aProject('theirs', packed);
  await writeFile(join(theirs, 'try.js'), TEST);
  const place = join(scratch, 'place');
  await mkdir(place);
  const { stdout } = await run('node', ['try.js'], { cwd: theirs, env: { ...env, MUSTER_TEST_SCRATCH: place } });
  const { second_ms, ...rest } = JSON.parse(stdout) as { second_ms: number };
  expect(rest).toEqual({ lost: 0, completed: 1, exit_code: 0 });
  // Under a second on a machine of one's own.
  expect(second_ms).toBeLessThan(10_000);
  await eventually(async () => expect(await readdir(place)).toEqual([]), { timeoutMs: 30_000 });
}, 300_000);

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
