import type { Database } from './database.ts';
import { listen } from './database.ts';
import type { Log } from './log.ts';

const CHANNEL = 'muster';

/** A run whose agent should stop it. */
export interface CancelledRun {
  agent_id: string;
  fence: number;
}

/** Tells parked polls what concerns them: here at once, at other coordinators by NOTIFY. */
export interface Notifier {
  /** Call after the commit that made work of these classes ready. */
  ready(classIds: Iterable<number>): void;
  onReady(heard: (classIds: number[]) => void): void;
  /** Call after the commit that asked for these runs to be cancelled. */
  cancelled(runs: readonly CancelledRun[]): void;
  onCancelled(heard: (run: CancelledRun) => void): void;
  /** Whether anybody else listens; a lone coordinator never pays for a NOTIFY. */
  setPeers(peers: boolean): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function createNotifier(db: Database, coordinatorId: string, log: Log): Notifier {
  const handlers: ((classIds: number[]) => void)[] = [];
  const cancelHandlers: ((run: CancelledRun) => void)[] = [];
  const outgoing = new Set<number>();
  const messages: string[] = [];
  let peers = true;
  let sending = false;
  let listening: { stop(): Promise<void> } | undefined;

  // NOTIFY takes a lock over the whole database at commit, so it travels alone and at most one at a time.
  const send = async () => {
    if (sending) return;
    sending = true;
    for (;;) {
      if (outgoing.size > 0) messages.push(`ready ${[...outgoing].join(',')}`);
      outgoing.clear();
      const message = messages.shift();
      if (message === undefined) break;
      const payload = `${coordinatorId} ${message}`;
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
    cancelled(runs) {
      for (const run of runs) for (const handler of cancelHandlers) handler(run);
      if (!peers || runs.length === 0) return;
      messages.push(...runs.map((run) => `cancel ${run.agent_id},${run.fence}`));
      setImmediate(() => void send());
    },
    onCancelled: (heard) => void cancelHandlers.push(heard),
    setPeers: (value) => {
      peers = value;
    },
    async start() {
      listening = await listen(db.url, CHANNEL, (payload) => {
        const [from, kind, what = ''] = payload.split(' ');
        if (from === coordinatorId) return;
        const parts = what.split(',');
        if (kind === 'ready') hear(parts.map(Number));
        else for (const handler of cancelHandlers) handler({ agent_id: parts[0]!, fence: Number(parts[1]) });
      });
    },
    stop: async () => listening?.stop(),
  };
}
