import type { TestProject } from 'vitest/node';
import { POSTGRES_ENV, startTestPostgres } from './postgres.ts';
import { keepPrograms } from './program.ts';

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
  return async () => {
    forgetPrograms();
    await server.stop();
  };
}
