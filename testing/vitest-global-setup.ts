import { chmodSync } from 'node:fs';
import type { TestProject } from 'vitest/node';
import { POSTGRES_ENV, startTestPostgres } from './postgres.ts';
import { keepPrograms } from './program.ts';
import { scratchFolder } from './scratch.ts';

declare module 'vitest' {
  interface ProvidedContext {
    postgresUrl: string;
  }
}

/** One Postgres for the run, where there is none for several. Test files find it in the environment, so that the kit needs no vitest; or by `inject`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const shared = process.env[POSTGRES_ENV[18]];
  const server = shared ? { url: shared, stop: async () => {} } : await startTestPostgres();
  process.env[POSTGRES_ENV[18]] = server.url;
  project.provide('postgresUrl', server.url);
  const forgetPrograms = keepPrograms(project.config.root);
  // What is put in the temporary folder goes with the run: who was killed, a test or an agent of one, has left its own there.
  const temporary = scratchFolder('temporary');
  // Where Postgres may not run as root, whom it runs as has to come to what is in it.
  chmodSync(temporary.path, 0o711);
  process.env.TMPDIR = temporary.path;
  return async () => {
    forgetPrograms();
    await server.stop();
    temporary.remove();
  };
}
