import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { afterOurEnd } from '@muster/server/platform/embedded-postgres/watchdog';

export interface Command {
  command: string;
  args: string[];
  cwd?: string;
  /** The whole environment, but for PATH, HOME and TMPDIR. */
  env?: Record<string, string | undefined>;
}

/** A line of output: the object in it if it is JSON, else its text as `text`. */
export type Line = Record<string, unknown>;

/** One life of a process, from its start to its end, and what it said. */
export interface Life {
  pid: number;
  ended: boolean;
  /** Its exit code, or null if a signal ended it. */
  exitCode: Promise<number | null>;
  lines: Line[];
  /** Told of each line, and once of its end by `undefined`. */
  listeners: Set<(line: Line | undefined) => void>;
}

/** Starts a process in a group of its own, which ends with this process at the latest, be that by SIGKILL. */
export function startLife({ command, args, cwd, env }: Command, say: (text: string) => void): Life {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(command, args, {
    cwd,
    env: { PATH, HOME, TMPDIR, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.once('error', (error) => say(`-- ${error.message}`));
  if (child.pid === undefined) throw new Error(`${command} could not be run`);
  const release = afterOurEnd('kill -s KILL -- "-$1"', String(child.pid));
  const exitCode = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const life: Life = { pid: child.pid, ended: false, exitCode, lines: [], listeners: new Set() };
  const tell = (line: Line | undefined) => {
    for (const listener of life.listeners) listener(line);
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (text) => {
      say(text);
      const line = parse(text);
      life.lines.push(line);
      tell(line);
    });
  }
  child.once('exit', async (code, signal) => {
    life.ended = true;
    release();
    // Its last words may still be in the pipe. (`close` would wait for its children too, if they have the pipe.)
    await pause(50);
    say(`-- pid ${life.pid} ended with ${signal ?? code}`);
    tell(undefined);
  });
  return life;
}

function parse(text: string): Line {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Line) : { text };
  } catch {
    return { text };
  }
}

/** The first line of a life that matches, said already or within the time. */
export function nextLine(life: Life, matches: (line: Line) => boolean, timeoutMs: number): Promise<Line> {
  const said = life.lines.find(matches);
  if (said) return Promise.resolve(said);
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      clearTimeout(timer);
      life.listeners.delete(listener);
      act();
    };
    const listener = (line: Line | undefined) => {
      if (!line) settle(() => reject(new Error('it ended without saying so')));
      else if (matches(line)) settle(() => resolve(line));
    };
    const timer = setTimeout(
      () => settle(() => reject(new Error(`it did not say so within ${timeoutMs} ms`))),
      timeoutMs,
    );
    life.listeners.add(listener);
  });
}

/** Sends a signal to a process, or to all of its group; that it is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals, { group = false } = {}): void {
  try {
    process.kill(group ? -pid : pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
