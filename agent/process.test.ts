import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { readConfig } from './sample/config.ts';
import { aCoordinator, aFolder } from './testing/harness.ts';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A script of this workspace in a process of its own, as `npm run agent` starts it. */
function run(script: string, args: string[], env: Record<string, string> = {}) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const argv = ['--conditions=development', '--import', 'tsx', path, ...args];
  const { PATH, TMPDIR } = process.env;
  const child = spawn(process.execPath, argv, { env: { PATH, TMPDIR, ...env }, stdio: 'pipe' });
  children.push(child);
  const said = { out: '', err: '' };
  child.stdout.on('data', (chunk) => (said.out += chunk));
  child.stderr.on('data', (chunk) => (said.err += chunk));
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, said, exit };
}

const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/State:\s+Z/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

describe('an agent in a process of its own', () => {
  test('beats on while a handler blocks its thread', async () => {
    const coordinator = await aCoordinator({ intervalMs: 200 });
    run('./testing/child-agent.ts', [coordinator.url, aFolder()]);
    await coordinator.until('heartbeat');
    const id = coordinator.hand('block', 1_500);
    await coordinator.result(id);
    const during = coordinator
      .of('heartbeat')
      .filter(({ body }) => body.runs.some((held: { run_id: string }) => held.run_id === id));
    // One before it blocks and one after it there are at any rate.
    expect(during.length).toBeGreaterThanOrEqual(4);
    expect(during[0]!.body.runs).toEqual([{ run_id: id, fence: 1, started: true }]);
  });

  test.runIf(process.platform === 'linux')('takes its scripts with it when it is killed', async () => {
    const coordinator = await aCoordinator();
    const folder = aFolder();
    const { child, exit } = run('./testing/child-agent.ts', [coordinator.url, aFolder()]);
    await coordinator.until('heartbeat');
    const pidFile = join(folder, 'pid');
    coordinator.hand('script', { script: `echo $$ > ${pidFile}; sleep 60; true` });
    await expect.poll(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8').trim()).toBeTruthy();
    const pid = Number(readFileSync(pidFile, 'utf8'));
    expect(isAlive(pid)).toBe(true);
    child.kill('SIGKILL');
    await exit;
    await expect.poll(() => isAlive(pid)).toBe(false);
  });
});

describe('the sample agent', () => {
  test('works, says what it does, and drains at SIGTERM with exit code 0', async () => {
    const coordinator = await aCoordinator();
    const { child, said, exit } = run('./main.ts', ['--url', coordinator.url, '--slots', '2'], {
      MUSTER_ENROLLMENT_TOKEN: 'enrol-me',
      MUSTER_AGENT_KEY_DIR: aFolder(),
      MUSTER_AGENT_NAME: 'sample',
    });
    await coordinator.until('heartbeat');
    const id = coordinator.hand('word-count', { text: 'pass muster\nor not' });
    expect((await coordinator.result(id)).result_data).toEqual({ words: 4, lines: 2, characters: 18 });
    const sleeping = coordinator.hand('sleep', { seconds: 1 });
    await coordinator.until('heartbeat', ({ body }) => body.runs.length === 1);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
    expect(await coordinator.result(sleeping)).toMatchObject({ outcome: 'COMPLETED' });
    // A beat may be on its way meanwhile.
    expect(coordinator.seen.filter(({ kind }) => kind !== 'heartbeat').at(-1)!.kind).toBe('leave');
    for (const line of [
      `Agent started: ${coordinator.agentId}`,
      'Heartbeat sent (active)',
      'Polling for tasks...',
      /Task task_\w+ assigned/,
      'Executing task...',
      'Result reported successfully',
    ]) {
      expect(said.out).toMatch(line);
    }
  });

  test('a second signal stops it at once, its run given back', async () => {
    const coordinator = await aCoordinator();
    const { child, said, exit } = run(
      './main.ts',
      ['--url', coordinator.url, '--log-format', 'json', '--key-dir', aFolder()],
      {
        MUSTER_ENROLLMENT_TOKEN: 'enrol-me',
      },
    );
    await coordinator.until('heartbeat');
    coordinator.hand('sleep', { seconds: 60 });
    await coordinator.until('heartbeat', ({ body }) => body.runs.length === 1);
    child.kill('SIGINT');
    await expect.poll(() => said.out).toContain('"event":"draining"');
    child.kill('SIGINT');
    expect(await exit).toBe(0);
    expect(coordinator.of('leave')).toHaveLength(1);
    for (const line of said.out.trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('event');
  });

  test('stops with its parent if told to', async () => {
    const coordinator = await aCoordinator();
    const { child, exit } = run('./main.ts', ['--url', coordinator.url, '--key-dir', aFolder(), '--exit-with-parent'], {
      MUSTER_ENROLLMENT_TOKEN: 'enrol-me',
    });
    coordinator.hand('sleep', { seconds: 60 });
    await coordinator.until('heartbeat', ({ body }) => body.runs.length === 1);
    // What the death of the parent does to both pipes.
    child.stdout.destroy();
    child.stdin.end();
    expect(await exit).toBe(0);
    expect(coordinator.of('leave')).toHaveLength(1);
  });

  test('proves that it has its key if told to, and says how to where that is needed', async () => {
    const coordinator = await aCoordinator();
    coordinator.door.requireDpop = true;
    const args = ['--url', coordinator.url, '--enrollment-token', 'enrol-me', '--key-dir', aFolder()];
    const { said, exit } = run('./main.ts', args);
    expect(await exit).toBe(1);
    expect(said.err).toContain('--proof-of-possession');
    run('./main.ts', args, { MUSTER_AGENT_PROOF_OF_POSSESSION: 'true' });
    expect((await coordinator.until('heartbeat')).authorization).toBe('DPoP token-1');
    expect(readConfig(['--proof-of-possession'], {})).toMatchObject({ agent: { proof_of_possession: true } });
    expect(() => readConfig([], { MUSTER_AGENT_PROOF_OF_POSSESSION: 'yes' })).toThrow(
      'MUSTER_AGENT_PROOF_OF_POSSESSION is "yes"; allowed: true, false',
    );
  });

  test.each([
    [['--slots', 'many'], /--slots is "many"; allowed: a whole number from 1 to 10000/],
    [['--url', 'ftp://x'], /--url is "ftp:\/\/x"; allowed: an http or https URL/],
    [['--log-format', 'xml'], /--log-format is "xml"; allowed: text, json/],
    [['--wat'], /--wat/],
  ])('%j stops it with a message', async (args, message) => {
    const { said, exit } = run('./main.ts', args);
    expect(await exit).toBe(2);
    expect(said.err).toMatch(message);
  });
});
