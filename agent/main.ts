#!/usr/bin/env node
import { createAgent } from './agent.ts';
import { ConfigError, readConfig, USAGE } from './sample/config.ts';
import { SAMPLE_HANDLERS } from './sample/handlers.ts';
import { logLines } from './sample/log-lines.ts';

/** The sample agent: starts, drains at the first signal, stops at the second. Its answer is the exit code. */
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
  let signals = 0;
  const onSignal = (): void => {
    signals += 1;
    void (signals === 1 ? agent.drain() : agent.stop());
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  await agent.start().catch((error) => {
    if (signals === 0) throw error;
  });
  const reason = await agent.done;
  return reason === 'drained' || reason === 'stopped' ? 0 : 1;
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
