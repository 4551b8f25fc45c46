import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { Usage } from '@muster/shared/contract/fields';
import { afterEach, describe, expect, test } from 'vitest';
import { RunAborted, type RunContext } from '../handler.ts';
import { aFolder } from '../testing/harness.ts';
import { scriptExecutor } from './script.ts';

const script = scriptExecutor({});
let taken: Usage[] = [];
const usage = (said: Usage) => void taken.push(said);
const context = (input_data: unknown, signal = new AbortController().signal): RunContext =>
  ({ input_data, signal, log() {}, progress() {}, checkpoint() {}, usage }) as unknown as RunContext;
// biome-ignore lint/suspicious/noExplicitAny: a result is whatever the executor reports.
const run = async (input: unknown, signal?: AbortSignal): Promise<any> => script(context(input, signal));
// biome-ignore lint/suspicious/noExplicitAny: an error carries what a TaskError does.
const failure = (input: unknown, signal?: AbortSignal): Promise<any> =>
  run(input, signal).then(
    (result) => expect.fail(`it returned ${JSON.stringify(result)}`),
    (error) => error,
  );
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/State:\s+Z/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

afterEach(() => {
  taken = [];
});

describe('script', () => {
  test('runs commands in order, in one fresh folder that is gone afterwards', async () => {
    const result = await run({ commands: ['pwd; echo one > file', 'cat file; cat', 'cat'], stdin: 'unread' });
    expect(result).toMatchObject({ exit_code: 0, truncated: false, stderr: '' });
    const [folder, content] = result.stdout.trim().split('\n');
    expect(content).toBe('one');
    expect(existsSync(folder)).toBe(false);
    expect(result.steps).toMatchObject([{ exit_code: 0 }, { exit_code: 0 }, { exit_code: 0 }]);
  });

  test('stdin goes to the first command, a named folder stays', async () => {
    const working_dir = realpathSync(aFolder());
    const result = await run({ script: 'cat; pwd; touch made', stdin: 'hello\n', working_dir });
    expect(result.stdout).toBe(`hello\n${working_dir}\n`);
    expect(existsSync(join(working_dir, 'made'))).toBe(true);
  });

  test('stops at the first command that fails, and shows what there was', async () => {
    const error = await failure({ commands: ['echo out; echo err >&2', 'exit 3', 'echo never'] });
    expect(error).toMatchObject({ code: 'exit-code', fault: 'task' });
    expect(error.message).toContain('step 2 exited with 3');
    expect(error.result_data).toMatchObject({ exit_code: 3, stdout: 'out\n', stderr: 'err\n' });
    expect(error.result_data.steps).toHaveLength(2);
  });

  test('sees a small environment and what it was given', async () => {
    process.env.MUSTER_TEST_SECRET = 'no';
    const { stdout } = await run({ script: 'env', env: { GIVEN: 'yes' } });
    delete process.env.MUSTER_TEST_SECRET;
    expect(stdout).toContain('GIVEN=yes');
    expect(stdout).toContain('PATH=');
    expect(stdout).not.toContain('MUSTER_TEST_SECRET');
  });

  test.each([
    ['no commands', {}],
    ['both', { script: 'a', commands: ['b'] }],
    ['unknown members', { script: 'a', sudo: true }],
    ['a loader', { script: 'a', env: { LD_PRELOAD: '/tmp/x.so' } }],
    ['node options', { script: 'a', env: { NODE_OPTIONS: '--require x' } }],
    ['a folder that is not there', { script: 'a', working_dir: '/nowhere/at/all' }],
    ['a shell that is a command line', { script: 'a', shell: 'sh -x' }],
  ])('refuses %s', async (_, input) => {
    expect(await failure(input)).toMatchObject({ code: 'invalid-input', fault: 'task', retryable: false });
  });

  test('cuts big outputs so that the result can travel', async () => {
    const result = await run({ script: 'head -c 3000000 /dev/zero | tr "\\\\0" x; head -c 3000000 /dev/zero >&2' });
    expect(result.truncated).toBe(true);
    expect(result.stdout.length).toBeGreaterThan(300_000);
    expect(result.stderr).not.toContain('\u0000');
    expect(Buffer.byteLength(JSON.stringify(result))).toBeLessThan(900 * 1024);
  });

  const busy = 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done';

  test('says what processor time the commands took that it waited for, with their children', async () => {
    const { stdout } = await run({
      commands: [`${busy}; times`, `sh -c '${busy}'; times`, 'kill -9 $$ || true; exit 1'],
    }).catch(({ result_data }) => result_data);
    const theirs = [...stdout.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
      (sum, [, m, s]) => sum + Number(m) * 60_000 + Number(s) * 1_000,
      0,
    );
    expect(theirs).toBeGreaterThan(50);
    expect(taken).toHaveLength(1);
    expect(taken[0]!.cpu_ms).toBeGreaterThanOrEqual(Math.floor(theirs));
    expect(taken[0]!.cpu_ms).toBeLessThan(theirs + 500);
  });

  test.runIf(process.platform === 'linux')('says how much its largest process held', async () => {
    const hold = `${process.execPath} -e "globalThis.held = Buffer.alloc(150_000_000, 1); setTimeout(() => {}, 1500)"`;
    await run({ commands: ['true', hold] });
    expect(taken[0]!.max_rss_bytes).toBeGreaterThan(150_000_000);
    expect(taken[0]!.max_rss_bytes).toBeLessThan(500_000_000);
  });

  test('a command that a signal ends is told of by its number, and nothing is added to what it said', async () => {
    const error = await failure({ script: 'echo mine >&2; kill -9 $$' });
    expect(error.result_data).toMatchObject({ exit_code: 137, stderr: 'mine\n' });
  });

  test('one that heeds SIGTERM has its time to end, and what it took is told; of one that is killed nothing is', async () => {
    for (const [heeds, trap] of [
      [true, "trap 'echo ending; exit 3' TERM"],
      [false, "trap '' TERM"],
    ] as const) {
      const started = join(aFolder(), 'started');
      const abort = new AbortController();
      const running = failure(
        { script: `${trap}; ${busy}; touch ${started}; while :; do sleep 0.1; done` },
        abort.signal,
      );
      await expect.poll(() => existsSync(started)).toBe(true);
      abort.abort(new RunAborted('cancelled'));
      const { result_data } = await running;
      expect(result_data).toMatchObject(heeds ? { exit_code: 3, stdout: 'ending\n' } : { exit_code: 137, stdout: '' });
      expect(taken.at(-1)!.cpu_ms !== undefined).toBe(heeds);
    }
  });

  test('does not wait for what a command leaves in the background, and does not leave it there', async () => {
    const startedAt = performance.now();
    const { stdout } = await run({ script: 'sleep 60 & echo $!' });
    expect(performance.now() - startedAt).toBeLessThan(30_000);
    await expect.poll(() => isAlive(Number(stdout))).toBe(false);
  });

  test('kills the whole process tree, also one that ignores SIGTERM', async () => {
    const pids = join(aFolder(), 'pids');
    const abort = new AbortController();
    const inner = `trap '' TERM; echo $$ >> ${pids}; while :; do sleep 0.1; done`;
    const running = failure(
      { script: `trap '' TERM; sh -c "${inner.replaceAll('$', '\\$')}" & echo $$ >> ${pids}; wait` },
      abort.signal,
    );
    const both = () => (existsSync(pids) ? readFileSync(pids, 'utf8').trim().split('\n').map(Number) : []);
    await expect.poll(() => both().length).toBe(2);
    expect(both().every(isAlive)).toBe(true);
    abort.abort(new RunAborted('cancelled'));
    expect(await running).toMatchObject({ code: 'killed' });
    await expect.poll(() => both().some(isAlive)).toBe(false);
  });
});
