import type { Database } from './database.ts';
import { listen } from './database.ts';
import type { Log } from './log.ts';

const CHANNEL = 'muster_ready';

/** Tells parked polls that there is something to claim: here at once, at other coordinators by NOTIFY. */
export interface Notifier {
  /** Call after the commit that made work of these classes ready. */
  ready(classIds: Iterable<number>): void;
  onReady(heard: (classIds: number[]) => void): void;
  /** Whether anybody else listens; a lone coordinator never pays for a NOTIFY. */
  setPeers(peers: boolean): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function createNotifier(db: Database, coordinatorId: string, log: Log): Notifier {
  const handlers: ((classIds: number[]) => void)[] = [];
  const outgoing = new Set<number>();
  let peers = true;
  let sending = false;
  let listening: { stop(): Promise<void> } | undefined;

  // NOTIFY takes a lock over the whole database at commit, so it travels alone and at most one at a time.
  const send = async () => {
    if (sending) return;
    sending = true;
    while (outgoing.size > 0) {
      const payload = `${coordinatorId} ${[...outgoing].join(',')}`;
      outgoing.clear();
      await db.admin`select pg_notify(${CHANNEL}, ${payload})`.catch((error) =>
        log.warn({ err: error }, 'notify failed'),
      );
    }
    sending = false;
  };
  const hear = (classIds: number[]) => {
    for (const handler of handlers) handler(classIds);
  };
  return {
    ready(classIds) {
      const ids = [...new Set(classIds)];
      if (ids.length === 0) return;
      hear(ids);
      if (!peers) return;
      for (const id of ids.slice(0, 500)) outgoing.add(id);
      setImmediate(() => void send());
    },
    onReady: (heard) => void handlers.push(heard),
    setPeers: (value) => {
      peers = value;
    },
    async start() {
      listening = await listen(db.url, CHANNEL, (payload) => {
        const [from, ids] = payload.split(' ');
        if (from !== coordinatorId && ids) hear(ids.split(',').map(Number));
      });
    },
    stop: async () => listening?.stop(),
  };
}
