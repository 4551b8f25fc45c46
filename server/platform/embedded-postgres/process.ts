import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';

/** A running process, be it ours or not. */
export interface ProcessFacts {
  /** The program's name. */
  name: string;
  /** Names this one life of it (pid, boot, start time), so that a number used again is not taken for its old holder. */
  life: string;
  /** The folder it works in, where the system tells. */
  folder?: string | undefined;
}

/** Looks a process up by its number; undefined when there is none, or only the remains that nobody has reaped yet. */
export function findProcess(pid: number): ProcessFacts | undefined {
  try {
    // Signal 0 tells on every platform; that it may not be sent means it is someone else's.
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  try {
    return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
  } catch {
    return process.platform === 'win32' ? { name: '', life: String(pid) } : undefined;
  }
}

function fromProc(pid: number): ProcessFacts | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // `pid (name) state …`: the name may hold blanks and brackets, so the fields count from its last bracket.
  const end = stat.lastIndexOf(')');
  const fields = stat.slice(end + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  return { name: stat.slice(stat.indexOf('(') + 1, end), life: `${pid}-${boot}-${fields[19]}`, folder: folderOf(pid) };
}

function folderOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

function fromPs(pid: number): ProcessFacts | undefined {
  const fields = ['-o', 'stat=', '-o', 'lstart=', '-o', 'comm=', '-p', String(pid)];
  const line = execFileSync('ps', fields, { encoding: 'utf8', env: { PATH: process.env.PATH, LC_ALL: 'C' } });
  const [, state = 'Z', started = '', name = ''] = /^(\S+)\s+(\S+ \S+ +\d+ \S+ \d+)\s+(.*)$/m.exec(line.trim()) ?? [];
  return state.startsWith('Z') ? undefined : { name, life: `${pid}-${started.replace(/\W+/g, '-')}` };
}
