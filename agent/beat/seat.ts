import { Worker } from 'node:worker_threads';
import type { BeatOrder, BeatReport, FromBeatThread, HeldRun, Join, ToBeatThread } from './messages.ts';

/** An agent's place on the beat thread. */
export interface Seat {
  /** The token to call with; waits for the first one. */
  token(): Promise<string>;
  /** A token other than the one that was refused. */
  renew(refused?: string): Promise<string>;
  /** Tells what changed in what the agent holds. Sent at once: a handler may block this thread next. */
  runs(held: HeldRun[], gone: string[], slotsFree: number): void;
  /** Ends the beats. */
  part(): void;
}

/** What an agent hears of its beats; `broken` is the end of the thread itself. */
export type SeatReport = Exclude<BeatReport, { type: 'token' | 'token-failed' }> | { type: 'broken'; error: unknown };

interface BeatThread {
  worker: Worker;
  seats: Map<number, (report: BeatReport | SeatReport) => void>;
}

/** The one beat thread of this process; it ends when its last agent parts. */
let thread: BeatThread | undefined;
let seatCount = 0;

function theThread(): BeatThread {
  if (thread) return thread;
  // No execArgv: the worker is plain JavaScript, a loader such as tsx would only make it slow to start.
  const worker = new Worker(new URL('./worker.js', import.meta.url), { execArgv: [], name: 'muster-beats' });
  const started: BeatThread = { worker, seats: new Map() };
  worker.on('message', ({ seat, ...report }: FromBeatThread) => started.seats.get(seat)?.(report as BeatReport));
  worker.on('error', (error) => {
    if (thread === started) thread = undefined;
    for (const listener of started.seats.values()) listener({ type: 'broken', error });
  });
  thread = started;
  return thread;
}

interface Waiter {
  resolve(token: string): void;
  reject(error: Error): void;
}

/** Takes a seat. `listener` hears every report of the beat thread but tokens. */
export function takeSeat(join: Omit<Join, 'type'>, listener: (report: SeatReport) => void): Seat {
  const { worker, seats } = theThread();
  seatCount += 1;
  const seat = seatCount;
  let current = join.session?.access_token;
  let waiters: Waiter[] = [];
  const post = (order: BeatOrder) => worker.postMessage({ seat, ...order } satisfies ToBeatThread);
  const settle = (settleOne: (waiter: Waiter) => void) => {
    const settled = waiters;
    waiters = [];
    settled.forEach(settleOne);
  };

  seats.set(seat, (report) => {
    if (report.type === 'token') {
      current = report.access_token;
      settle((waiter) => waiter.resolve(report.access_token));
    } else if (report.type === 'token-failed') {
      settle((waiter) => waiter.reject(new Error(report.message)));
    } else {
      if (report.type === 'refused')
        settle((waiter) => waiter.reject(new AgentRefused(report.verdict, report.message)));
      listener(report);
    }
  });
  post({ type: 'join', ...join });

  const renew = (refused?: string) => {
    if (current && current !== refused) return Promise.resolve(current);
    const renewed = new Promise<string>((resolve, reject) => waiters.push({ resolve, reject }));
    post({ type: 'renew', refused });
    return renewed;
  };
  return {
    renew,
    token: () => (current ? Promise.resolve(current) : renew()),
    runs: (held, gone, slots_free) => post({ type: 'runs', held, gone, slots_free }),
    part() {
      post({ type: 'part' });
      seats.delete(seat);
      settle((waiter) => waiter.reject(new Error('the agent has left')));
      if (seats.size > 0) return;
      if (thread?.worker === worker) thread = undefined;
      void worker.terminate();
    },
  };
}

/** The coordinator refused the agent itself, not one request. */
export class AgentRefused extends Error {
  readonly verdict: 'superseded' | 'revoked' | 'unknown-agent';

  constructor(verdict: AgentRefused['verdict'], message: string) {
    super(message);
    this.name = 'AgentRefused';
    this.verdict = verdict;
  }
}
