// A subject that submits and executes in one process of its own: the peers at their best, and bare Postgres.
import { startProcess } from '../process.mjs';
import { openSessions } from './sessions.mjs';

const VERBS = ['fill', 'drain', 'flood', 'bulk', 'trickle', 'empty', 'rest'];

export async function startInProcess({ name, file, execPath, databaseUrl }) {
  const child = startProcess(file, { execPath });
  await child.ask('open', { databaseUrl });
  const sessions = openSessions(databaseUrl);
  const verbs = VERBS.map((verb) => [verb, (options) => child.ask(verb, options)]);
  return {
    name,
    ...Object.fromEntries(verbs),
    fill: (count) => child.ask('fill', { count }),
    async cpu() {
      return { postgres: await sessions.cpu(), process: await child.ask('cpu'), load: 0 };
    },
    async close() {
      await child.stop();
      await sessions.close();
    },
  };
}
