import type { Standing } from '@muster/shared/lifecycle';
import type { Database } from './database.ts';
import { listen } from './database.ts';
import { withDeadline } from './deadline.ts';
import type { Log } from './log.ts';

const CHANNEL = 'muster';

/** What parked polls must hear of: classes there is work of, classes runs are wanted of besides, a capability that was paused or resumed, a limit that was set or ended, a run to be stopped, an agent or an API key that is not what it was, where an agent stands now (`*`: in all it can do), tokens that are over. */
export interface News {
  ready: number[];
  wanted: number[];
  paused: string;
  limited: string;
  cancelled: { agent_id: string; fence: number };
  changed: string;
  standing: { agent_id: string; capability: string; standing: Standing };
  key: string;
  epoch: { agent_id: string; token_epoch: number; revoked: boolean };
}

/** Tells parked polls what concerns them: here at once, at other coordinators by NOTIFY. Always after the commit. */
export interface Notifier {
  tell<K extends keyof News>(kind: K, what: News[K]): void;
  on<K extends keyof News>(kind: K, heard: (what: News[K]) => void): void;
  /** Whether anybody else listens; a lone coordinator never pays for a NOTIFY. */
  setPeers(peers: boolean): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

type Handlers = { [K in keyof News]: ((what: News[K]) => void)[] };

/** A payload has at most 8,000 bytes; classes that do not fit are found by the other coordinators' sweeps. */
const CLASSES_AT_ONCE = 400;

export function createNotifier(db: Database, coordinatorId: string, log: Log): Notifier {
  const handlers: Handlers = {
    ready: [],
    wanted: [],
    paused: [],
    limited: [],
    cancelled: [],
    changed: [],
    standing: [],
    key: [],
    epoch: [],
  };
  const ready = new Set<number>();
  const messages: { kind: keyof News; what: unknown }[] = [];
  let peers = true;
  let sending = false;
  let listening: { stop(): Promise<void> } | undefined;

  const next = () => {
    // What concerns one agent goes first: of ready work there may be news without end, and sweeps find it too.
    if (messages.length > 0 || ready.size === 0) return messages.shift();
    const what = [...ready].slice(0, CLASSES_AT_ONCE);
    ready.clear();
    return { kind: 'ready', what };
  };
  // NOTIFY takes a lock over the whole database at commit, so it travels alone and at most one at a time; and not with the loops, of which one may take seconds.
  const send = async () => {
    if (sending) return;
    sending = true;
    for (let message = next(); message; message = next()) {
      const payload = JSON.stringify({ from: coordinatorId, ...message });
      const sent = withDeadline(Promise.resolve(db.hot`select pg_notify(${CHANNEL}, ${payload})`));
      await sent.catch((error) => log.warn({ err: error }, 'notify failed'));
    }
    sending = false;
  };
  const hear = <K extends keyof News>(kind: K, what: News[K]) => {
    for (const handler of handlers[kind]) handler(what);
  };
  return {
    tell(kind, what) {
      if (Array.isArray(what) && what.length === 0) return;
      hear(kind, what);
      if (!peers) return;
      if (kind === 'ready') for (const id of what as number[]) ready.add(id);
      else messages.push({ kind, what });
      setImmediate(() => void send());
    },
    on: (kind, heard) => void handlers[kind].push(heard),
    setPeers: (value) => {
      peers = value;
    },
    async start() {
      listening = await listen(db.url, CHANNEL, (payload) => {
        const { from, kind, what } = JSON.parse(payload) as { from: string; kind: keyof News; what: never };
        if (from !== coordinatorId) hear(kind, what);
      });
    },
    stop: async () => listening?.stop(),
  };
}
