import type { JsonWebKey } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import type { AgentVerdict } from '../protocol/verdict.ts';
import type { BeatOrder, BeatReport, Credential, FromBeatThread, HeldRun, Join, ToBeatThread } from './messages.ts';

/** An agent's place on the beat thread. */
export interface Seat {
  /** The token to call with; waits for the first one. */
  token(): Promise<Credential>;
  /** A token other than the one that was refused. */
  renew(refused?: string): Promise<Credential>;
  /** Changes the agent's key; rejects with a {@link RotationFailed}. */
  rotate(next: JsonWebKey): Promise<void>;
  /** Tells what changed in what the agent holds. Sent at once: a handler may block this thread next. */
  runs(held: HeldRun[], gone: string[], slotsFree: number): void;
  /** Ends the beats. */
  part(): void;
}

/** What an agent hears of its beats; `broken` is the end of the thread itself. */
export type SeatReport =
  | Extract<BeatReport, { type: 'beat' | 'beat-failed' | 'fenced' | 'refused' }>
  | { type: 'broken'; error: unknown };

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

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

/** Takes a seat. `listener` hears every report but those of tokens and keys; `onKey` which key each token was bought with. */
export function takeSeat(
  join: Omit<Join, 'type'>,
  listener: (report: SeatReport) => void,
  onKey: (key: JsonWebKey) => void,
): Seat {
  const { worker, seats } = theThread();
  seatCount += 1;
  const seat = seatCount;
  let current: Credential | undefined = join.session && { ...join.session, private_jwk: join.private_jwk };
  let waiters: Waiter<Credential>[] = [];
  let rotation: Waiter<void> | undefined;
  let parted = false;
  const post = (order: BeatOrder) => worker.postMessage({ seat, ...order } satisfies ToBeatThread);
  const settle = (settleOne: (waiter: Waiter<Credential>) => void) => {
    const settled = waiters;
    waiters = [];
    settled.forEach(settleOne);
  };
  const rejectAll = (error: Error) => {
    settle((waiter) => waiter.reject(error));
    rotation?.reject(error);
  };
  const ask = <T>(order: BeatOrder, wait: (waiter: Waiter<T>) => void): Promise<T> => {
    if (parted) return Promise.reject(new Error('the agent has left'));
    return new Promise<T>((resolve, reject) => {
      wait({ resolve, reject });
      post(order);
    });
  };

  seats.set(seat, (report) => {
    switch (report.type) {
      case 'token': {
        const { credential } = report;
        current = credential;
        onKey(credential.private_jwk);
        return settle((waiter) => waiter.resolve(credential));
      }
      case 'token-failed':
        return settle((waiter) => waiter.reject(new Error(report.message)));
      case 'rotated':
        return rotation?.resolve();
      case 'rotate-failed':
        return rotation?.reject(new RotationFailed(report.message, report.final));
      case 'refused':
        rejectAll(new AgentRefused(report.verdict, report.message));
    }
    listener(report);
  });
  post({ type: 'join', ...join });

  const renew = (refused?: string) => {
    if (current && current.access_token !== refused) return Promise.resolve(current);
    return ask<Credential>({ type: 'renew', refused }, (waiter) => waiters.push(waiter));
  };
  return {
    renew,
    token: () => (current ? Promise.resolve(current) : renew()),
    rotate: (next_jwk) => ask<void>({ type: 'rotate', next_jwk }, (waiter) => (rotation = waiter)),
    runs: (held, gone, slots_free) => post({ type: 'runs', held, gone, slots_free }),
    part() {
      parted = true;
      post({ type: 'part' });
      seats.delete(seat);
      rejectAll(new Error('the agent has left'));
      if (seats.size > 0) return;
      if (thread?.worker === worker) thread = undefined;
      void worker.terminate();
    },
  };
}

/** The agent has its old key as far as is known. `final`: the new one was refused, and never will be the agent's. */
export class RotationFailed extends Error {
  readonly final: boolean;

  constructor(message: string, final: boolean) {
    super(`the key ${final ? 'was not' : 'may not have been'} changed: ${message}`);
    this.name = 'RotationFailed';
    this.final = final;
  }
}

/** The coordinator refused the agent itself, not one request. */
export class AgentRefused extends Error {
  readonly verdict: AgentVerdict;

  constructor(verdict: AgentRefused['verdict'], message: string) {
    super(message);
    this.name = 'AgentRefused';
    this.verdict = verdict;
  }
}
