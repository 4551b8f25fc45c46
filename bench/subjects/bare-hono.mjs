// Bare hono in the coordinator's place, for the same loads.
import { startProcess } from '../process.mjs';
import { overHttp } from './over-http.mjs';

export async function startBareHono({ agents, driver }) {
  const child = startProcess('bare/hono.mjs');
  const port = await child.ask('port');
  const fleetOf = async ({ count, slots }) =>
    Array.from({ length: count }, (_, n) => ({ agent_id: `agent_${n}`, boot_id: 'boot_0', slots, token: 'none' }));
  return {
    name: 'hono',
    ...overHttp({ agents, driver, port, key: 'none', fleetOf }),
    lacksBulk: 'it has nothing that takes many tasks',
    async rest() {
      await agents.ask('close');
      await child.ask('forget');
    },
    fill: (count) => child.ask('fill', { count }),
    empty: () => child.ask('empty'),
    cpu: async () => ({ postgres: 0, process: await child.ask('cpu'), load: 0 }),
    residentMb: () => child.ask('residentMb'),
    close: () => child.stop(),
  };
}
