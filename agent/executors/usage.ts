import { readFileSync } from 'node:fs';
import type { Usage } from '@muster/shared/contract/fields';

/** How often the memory of a command is looked at. */
const LOOK_MS = 250;

/**
 * A command in its turn, by a shell that outlives it and says on descriptor 3 what it took, with all it waited for: no more is told of
 * processes that are gone. That shell takes no notice of SIGTERM, which is the command's to heed, and says nothing itself.
 */
export const metered = (argv: readonly string[]): [string, ...string[]] => [
  '/bin/sh',
  '-c',
  'trap : TERM; exec 4>&2 2>/dev/null; (exec 2>&4 3>&- 4>&-; exec "$@"); code=$?; times >&3; exit $code',
  'sh',
  ...argv,
];

/** Milliseconds, of what `times` prints: of the shell, then of its children, user and system. */
export function cpuMs(printed: string): number | undefined {
  const times = [...printed.matchAll(/(\d+)m(\d+)[.,](\d+)s/g)].map(
    ([, minutes, seconds, part]) => Number(minutes) * 60_000 + Number(`${seconds}.${part}`) * 1_000,
  );
  return times.length === 4 ? Math.round(times[2]! + times[3]!) : undefined;
}

/** Looks, now and then, what a process and its descendants hold; ends with the most that one of them did, if Linux told it. */
export function watchMemory(pid: number): () => number | undefined {
  let most: number | undefined;
  const timer = setInterval(() => {
    const held = familyOf(pid).map(peakOf);
    most = Math.max(most ?? 0, ...held) || undefined;
  }, LOOK_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    return most;
  };
}

/** What commands took that ran one after the other: nothing is said of what is not known of each. */
export function together(parts: readonly Usage[]): Usage {
  const cpu = parts.flatMap(({ cpu_ms }) => cpu_ms ?? []);
  const memory = parts.flatMap(({ max_rss_bytes }) => max_rss_bytes ?? []);
  return {
    ...(cpu.length === parts.length ? { cpu_ms: cpu.reduce((sum, ms) => sum + ms, 0) } : {}),
    ...(memory.length > 0 ? { max_rss_bytes: Math.max(...memory) } : {}),
  };
}

const familyOf = (pid: number): number[] => [
  pid,
  ...read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number).flatMap(familyOf),
];

const peakOf = (pid: number): number => Number(/VmHWM:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1_024;

/** Nothing of a process that has just ended, and nothing where there is no such folder. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
