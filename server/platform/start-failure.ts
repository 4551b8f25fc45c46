import { ConfigError } from './config.ts';
import { DatabaseRefused } from './database.ts';
import { EmbeddedPostgresError } from './embedded-postgres/start.ts';

const FOR_PEOPLE = [ConfigError, DatabaseRefused, EmbeddedPostgresError];

/** Ends a start that cannot be: what a person can mend is told in words, anything else with its stack. */
export function failStart(error: unknown): never {
  const known = FOR_PEOPLE.some((kind) => error instanceof kind);
  console.error(known ? (error as Error).message : error);
  process.exit(1);
}
