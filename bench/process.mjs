// Processes that are asked for one thing after another over IPC: every subject and every load of the benchmarks is one, so
// that none shares an event loop with another. Imports nothing of ours, because the peers run it on another Node.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Longer than anything takes that is asked for: who does not answer by then never will. */
const PATIENCE_MS = 120_000;

const FROM_SOURCE = ['--import', 'tsx', '--conditions=development'];

/** Starts a file of this folder. `execPath` is the Node to start it with; if it ends by itself, all do. */
export function startProcess(file, { execPath, args = [] } = {}) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), args, {
    execArgv: execPath ? [] : FROM_SOURCE,
    ...(execPath ? { execPath } : {}),
    serialization: 'advanced',
  });
  child.once('exit', (code) => {
    if (!code) return;
    console.error(`${file} ended with ${code}`);
    process.exit(code);
  });
  return {
    pid: child.pid,
    /** Has it do one thing and answers what came of it; one at a time. */
    async ask(verb, options = {}) {
      child.send({ verb, options });
      const late = AbortSignal.timeout(PATIENCE_MS);
      const [{ value, error }] = await once(child, 'message', { signal: late }).catch((cause) => {
        throw new Error(`${file} ${verb}: no answer in ${PATIENCE_MS / 1_000} s`, { cause });
      });
      if (error) throw new Error(`${file} ${verb}: ${error}`);
      return value;
    },
    async stop() {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

/** The other end: does what it is asked by the verbs it has, and ends with its parent. */
export function answer(verbs, stop = async () => {}) {
  process.on('message', async ({ verb, options }) => {
    try {
      process.send({ value: await verbs[verb](options) });
    } catch (error) {
      process.send({ error: error.stack });
    }
  });
  process.on('disconnect', () => stop().finally(() => process.exit()));
}
