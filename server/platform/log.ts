import { type DestinationStream, type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import { escapeUnseen, inOneLine, maskLine } from './log-masking.ts';

export type Log = Logger;

/**
 * The log: JSON lines, or readable ones where a person sits at the terminal. Secrets are cut out wherever they stand, and
 * a record is one line whatever a caller sent.
 */
export function createLog(
  level: string,
  readable = process.stdout.isTTY === true,
  out: DestinationStream = readable
    ? pretty({ colorize: true, ignore: 'pid,hostname', sync: true })
    : pino.destination(1),
): Log {
  const finish = readable ? inOneLine : escapeUnseen;
  return pino({ level, base: null }, { write: (line) => out.write(finish(maskLine(line))) });
}
