// What processes have used, from /proc: unlike a rate it hardly depends on what else the machine does.
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time of a process and all its threads, in microseconds. */
export function cpuOf(pid) {
  let sum = 0;
  for (const thread of list(`/proc/${pid}/task`))
    sum += Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0]);
  return sum / 1_000;
}

/** The same for processes together. */
export const cpuOfAll = (pids) => pids.reduce((sum, pid) => sum + cpuOf(pid), 0);

/** The processes of a Postgres server: its sessions, and what it does on the side. */
export const childrenOf = (pid) =>
  list(`/proc/${pid}/task`).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );

/** Resident memory, in megabytes. */
export const residentMb = (pid) => Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1]) / 1_024;

/** How many others want the processors: what a figure is worth. */
export const load = () => Number(read('/proc/loadavg').split(' ')[0]);

// A process that has just ended has used nothing more.
function list(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '0';
  }
}
