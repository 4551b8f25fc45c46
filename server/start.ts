import type { Coordinator } from './coordinator.ts';
import type { Config } from './platform/config.ts';
import { startEmbeddedPostgres } from './platform/embedded-postgres/start.ts';
import type { Log } from './platform/log.ts';
import { isConnectionLoss } from './platform/storage-errors.ts';

/** Starts a coordinator. Its Postgres starts while its code is still being loaded: each takes about half of a first start. */
export async function start(config: Config, log: Log): Promise<Coordinator> {
  // The driver looks up types on a new connection and awaits that nowhere: where the database goes in that moment, nothing of ours is half done.
  process.on('unhandledRejection', (error) => {
    if (!isConnectionLoss(error)) throw error;
    log.warn({ err: error }, 'the database went while a connection was being made');
  });
  const postgres = config.databaseUrl ? undefined : startEmbeddedPostgres({ dataDir: config.dataDir });
  // Who waits for it hears of a failure; until somebody does it must not count as unhandled.
  postgres?.catch(() => {});
  const { startCoordinator } = await import('./coordinator.ts');
  return startCoordinator(config, { log, ...(postgres ? { postgres } : {}) });
}
