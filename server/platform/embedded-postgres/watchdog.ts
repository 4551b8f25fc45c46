import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';

/**
 * Runs a line of shell when this process has ended, however it ended; the returned function calls that off. It is a shell
 * of its own group that waits on a pipe from here: the pipe ends when we do, even by SIGKILL. (Linux has pdeathsig for
 * this, but that is tied to a thread, is Linux's alone, and nothing can have it that we did not start ourselves.)
 */
export function afterOurEnd(script: string, ...args: string[]): () => void {
  const watchdog = spawn(
    'sh',
    ['-c', `trap "" HUP INT TERM; read -r word || { ${script}; }`, 'muster-watchdog', ...args],
    {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    },
  );
  watchdog.on('error', () => {});
  watchdog.stdin.on('error', () => {});
  watchdog.unref();
  // The pipe alone must not keep this process running.
  (watchdog.stdin as Socket).unref();
  return () => watchdog.stdin.end('released\n');
}
