import { setFlagsFromString } from 'node:v8';
import { parseConfig } from './platform/config.ts';
import { createLog } from './platform/log.ts';
import { failStart } from './platform/start-failure.ts';
import { start } from './start.ts';

/** `npm run serve`: a coordinator, until it is told to stop. */
async function main(): Promise<void> {
  // What lives as long as a request outlives a young heap of a megabyte, and being copied is what the slowest of a hundred waited for.
  setFlagsFromString('--semi-space-growth-factor=16');
  const config = parseConfig(process.env);
  const log = createLog(config.logLevel);
  // Whatever nobody expected leaves a state nobody knows: say so and start anew.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught exception');
    process.exit(1);
  });
  const coordinator = await start(config, log);
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
    log.info({ path: coordinator.adminKeyMade }, 'an admin key was made; it is shown once');
    // Past the log, which lets no key through.
    console.log(`Admin key made, shown once: ${coordinator.adminKey}`);
  }
  log.info({ url: coordinator.url, pid: process.pid }, 'coordinator ready');
}

main().catch(failStart);
