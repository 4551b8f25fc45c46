#!/usr/bin/env node
import { createAgent } from './agent.ts';
import { ConfigError, readConfig, USAGE } from './sample/config.ts';
import { SAMPLE_HANDLERS } from './sample/handlers.ts';
import { logLines } from './sample/log-lines.ts';

/** The sample agent: starts, drains at the first signal, stops at the second or with its parent. Its answer is the exit code. */
async function main(): Promise<number> {
  const config = readConfig(process.argv.slice(2), process.env);
  if (config === 'help') {
    console.log(USAGE);
    return 0;
  }
  const agent = createAgent({
    ...config.agent,
    handlers: SAMPLE_HANDLERS,
    onEvent: logLines(config.logFormat, (line) => console.log(line)),
  });
  let ending = false;
  const onSignal = (): void => {
    void (ending ? agent.stop() : agent.drain());
    ending = true;
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // Who read the log may be gone: no reason to break off the work.
  process.stdout.on('error', () => undefined);
  if (config.exitWithParent) {
    onEnd(process.stdin, () => {
      ending = true;
      void agent.stop();
    });
  }
  await agent.start().catch((error) => {
    if (!ending) throw error;
  });
  const reason = await agent.done;
  return reason === 'drained' || reason === 'stopped' ? 0 : 1;
}

/** Calls back once a stream has ended, however. */
function onEnd(stream: NodeJS.ReadStream, callback: () => void): void {
  stream.on('error', () => undefined);
  stream.once('close', callback);
  stream.once('end', callback);
  stream.resume();
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(
      error instanceof ConfigError ? `${error.message}\n\n${USAGE}` : `muster-agent: ${error.message ?? error}`,
    );
    process.exit(error instanceof ConfigError ? 2 : 1);
  },
);
