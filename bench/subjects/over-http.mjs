// What agents and submitters reach over HTTP, from processes of their own: the coordinator, and bare hono in its place.

/** How long tasks that trickle in may take at most, together. */
const PATIENCE_MS = 60_000;
/** Who waits for tasks that trickle in, and how many each takes at once. */
const LISTENERS = { count: 4, slots: 10 };

/** The verbs of a subject, by two loads. `port` is where it is, `key` what submitters have, `fleetOf` makes agents. */
export function overHttp({ agents, driver, port, key, fleetOf }) {
  const open = async (size, more) => agents.ask('open', { port, ...more, fleet: await fleetOf(size) });
  const drive = (connections) => driver.ask('open', { port, key, connections });
  return {
    async drain({ count, agents: number, max }) {
      await open({ count: number, slots: max });
      return agents.ask('drain', { count, max });
    },
    async flood({ count, inFlight }) {
      await drive(inFlight);
      return driver.ask('flood', { count, inFlight });
    },
    async bulk({ count, size, inFlight }) {
      await drive(inFlight);
      return driver.ask('bulk', { count, size, inFlight });
    },
    /** `at`: the port agents poll at, where that is another's. */
    async trickle({ count, warmUp, perSecond, at = port }) {
      await open(LISTENERS, { port: at });
      await drive(32);
      const heard = agents.ask('listen', { count: count + warmUp, max: LISTENERS.slots, patienceMs: PATIENCE_MS });
      await Promise.all([heard, driver.ask('trickle', { count: count + warmUp, perSecond })]);
      return (await heard).slice(warmUp);
    },
    /** Opens a fleet that only beats and lets each beat once; how long that took in milliseconds. */
    async openBeats({ fleet, connections }) {
      await open({ count: fleet, slots: 1 }, { pollers: false, connections });
      return agents.ask('beatOnce');
    },
    beats: (options) => agents.ask('beat', options),
    async park({ count, settleMs }) {
      await open({ count, slots: 1 }, { pollers: false });
      return agents.ask('park', { settleMs });
    },
    async claims({ count }) {
      await open({ count: 1, slots: 1 });
      return agents.ask('claim', { count });
    },
    rest: () => agents.ask('close'),
  };
}
