import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Usage } from '@muster/shared/contract/fields';
import { Output } from './output.ts';
import { cpuMs, metered, watchMemory } from './usage.ts';

/** Between the request to end and the order. */
const KILL_AFTER_MS = 2_000;
/** A descendant that left the group may hold the pipes open: what it still says is not waited for longer. */
const DRAIN_MS = 500;
/** More than `times` prints. */
const TIMES_BYTES = 1_024;

export interface Command {
  argv: [string, ...string[]];
  cwd: string;
  env: Record<string, string>;
  stdin: string;
  signal: AbortSignal;
  onStdout(chunk: Buffer): void;
  onStderr(chunk: Buffer): void;
}

/** How a process ended, and what it took; `exit_code` of one that was killed by a signal is 128 and its number, as shells say it. */
export interface Ended extends Usage {
  exit_code: number;
}

/**
 * Runs a command in a process group of its own and leaves none of the group behind: not when it ends, not when it is
 * aborted (SIGTERM, then SIGKILL), and, where the system can promise it, not when this process is killed.
 */
export async function runInGroup(command: Command): Promise<Ended> {
  const [file, ...args] = withDeathSignal(metered(withDeathSignal(command.argv)));
  const { cwd, env } = command;
  const child = spawn(file!, args, { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
  child.stdout.on('data', command.onStdout);
  child.stderr.on('data', command.onStderr);
  const times = new Output(TIMES_BYTES);
  (child.stdio[3] as Readable).on('data', (chunk) => times.write(chunk));
  // A command that does not read its input closes it: no reason to fail.
  child.stdin.on('error', () => undefined);
  child.stdin.end(command.stdin);

  const killed = new AbortController();
  const onAbort = () => void killGroup(child, killed.signal);
  command.signal.addEventListener('abort', onAbort, { once: true });
  if (command.signal.aborted) onAbort();
  const memory = child.pid === undefined ? () => undefined : watchMemory(child.pid);
  try {
    const exit_code = await ended(child);
    const [cpu_ms, max_rss_bytes] = [cpuMs(times.text), memory()];
    return { exit_code, ...(cpu_ms === undefined ? {} : { cpu_ms }), ...(max_rss_bytes ? { max_rss_bytes } : {}) };
  } finally {
    memory();
    command.signal.removeEventListener('abort', onAbort);
    killed.abort();
    signalGroup(child, 'SIGKILL');
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      // Those the command left behind would hold the pipes open: 'close' alone might never come.
      signalGroup(child, 'SIGKILL');
      const done = () => resolve(code ?? 128 + signalNumber(signal));
      const timer = setTimeout(done, DRAIN_MS);
      child.once('close', () => {
        clearTimeout(timer);
        done();
      });
    });
  });
}

async function killGroup(child: ChildProcess, over: AbortSignal): Promise<void> {
  signalGroup(child, 'SIGTERM');
  await sleep(KILL_AFTER_MS, undefined, { signal: over }).then(
    () => signalGroup(child, 'SIGKILL'),
    () => undefined,
  );
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // No such group any more.
  }
}

const signalNumber = (signal: NodeJS.Signals | null): number => ({ SIGKILL: 9, SIGTERM: 15 })[String(signal)] ?? 1;

let deathSignal: boolean | undefined;

/** On Linux `setpriv` has the kernel kill the command when this process dies in a way that lets it do nothing. */
function withDeathSignal(argv: [string, ...string[]]): [string, ...string[]] {
  deathSignal ??=
    process.platform === 'linux' &&
    spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0;
  return deathSignal ? ['setpriv', '--pdeathsig', 'KILL', '--', ...argv] : argv;
}
