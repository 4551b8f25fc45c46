import { startCoordinator } from './coordinator.ts';
import { ConfigError, parseConfig } from './platform/config.ts';
import { DatabaseRefused } from './platform/database.ts';
import { EmbeddedPostgresError } from './platform/embedded-postgres.ts';
import { createLog } from './platform/log.ts';

/** `npm run serve`: a coordinator, until it is told to stop. */
async function main(): Promise<void> {
  const config = parseConfig(process.env);
  const log = createLog(config.logLevel);
  // Whatever nobody expected leaves a state nobody knows: say so and start anew.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught exception');
    process.exit(1);
  });
  const coordinator = await startCoordinator(config, { log });
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1);
      stopping = true;
      log.info({ signal }, 'draining');
      void coordinator.stop().then(() => {
        log.info('stopped');
        process.exit(0);
      });
    });
  }
  if (coordinator.adminKeyMade) {
    log.info({ path: coordinator.adminKeyMade }, `an admin key was made; it is shown once: ${coordinator.adminKey}`);
  }
  log.info({ url: coordinator.url, pid: process.pid }, 'coordinator ready');
}

main().catch((error) => {
  const expected =
    error instanceof ConfigError || error instanceof DatabaseRefused || error instanceof EmbeddedPostgresError;
  console.error(expected ? (error as Error).message : error);
  process.exit(1);
});
