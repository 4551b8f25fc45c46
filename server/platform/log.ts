import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

export type Log = Logger;

const REDACTED = [
  'authorization',
  'x-api-key',
  'cookie',
  'registration',
  'assertion',
  'access_token',
  'enrollment_token',
  'admin_key',
];

/** The log: JSON lines, or readable ones where a person sits at the terminal. Secrets are cut out wherever they stand. */
export function createLog(level: string, readable = process.stdout.isTTY === true): Log {
  const options = {
    level,
    base: null,
    redact: {
      paths: REDACTED.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]),
      censor: '[redacted]',
    },
  };
  return readable ? pino(options, pretty({ colorize: true, ignore: 'pid,hostname', sync: true })) : pino(options);
}
