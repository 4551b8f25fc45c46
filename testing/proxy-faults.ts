import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** The two ends of a connection that goes through a proxy. */
export interface Pair {
  near: Socket;
  far: Socket;
  /** The far end is gone, and the near one was not told. */
  severed: boolean;
}

/** What the network does to bytes just now; the connections look at it for each piece they carry. */
export interface Faults {
  delayMs: number;
  jitterMs: number;
  bytesPerSecond: number;
  /** Answers still to be dropped. */
  drops: number;
  /** Answers still to be cut short, and after how many bytes. */
  truncated: { count: number; bytes: number };
  /** Requests still to be sent twice. */
  duplicates: number;
  halfOpen: boolean;
  /** Settled when bytes may pass. */
  open: Promise<void>;
  unblock(): void;
  random(): number;
}

export const noFaults = (random: () => number): Faults => ({
  delayMs: 0,
  jitterMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  drops: 0,
  truncated: { count: 0, bytes: 0 },
  duplicates: 0,
  halfOpen: false,
  open: Promise.resolve(),
  unblock: () => {},
  random,
});

/** Carries what both ends say to each other through the faults of the moment. */
export function carry(pair: Pair, faults: Faults, repeat: (request: Buffer) => void): void {
  /** What was said since the last answer began: one request, as long as nobody pipelines. */
  let request: Buffer[] = [];
  relay(pair, pair.near, pair.far, faults, (chunk) => {
    request.push(chunk);
    return 'carry';
  });
  relay(pair, pair.far, pair.near, faults, (chunk) => {
    if (request.length > 0 && faults.duplicates > 0) {
      faults.duplicates -= 1;
      repeat(Buffer.concat(request));
    }
    request = [];
    if (faults.drops > 0) {
      faults.drops -= 1;
      return 'reset';
    }
    if (faults.truncated.count === 0) return 'carry';
    faults.truncated.count -= 1;
    return chunk.subarray(0, faults.truncated.bytes);
  });
}

/** What becomes of a piece: it is carried, its connection is reset, or ended after a part of it. */
type Fate = 'carry' | 'reset' | Buffer;

/** Carries what `from` says to `to`, its end and its errors too, in order. */
function relay(pair: Pair, from: Socket, to: Socket, faults: Faults, judge: (chunk: Buffer) => Fate): void {
  let last = Promise.resolve();
  const inTurn = (deliver: () => unknown) => {
    const due = performance.now() + faults.delayMs + faults.jitterMs * faults.random();
    last = last.then(async () => {
      // A timer may fire a part of a millisecond early.
      while (performance.now() < due) await pause(due - performance.now());
      await faults.open;
      if (!pair.severed) await deliver();
    });
  };
  from.on('data', (chunk: Buffer) =>
    inTurn(async () => {
      if (to.destroyed) return;
      const fate = judge(chunk);
      if (fate === 'reset') {
        from.resetAndDestroy();
        to.resetAndDestroy();
      } else if (fate !== 'carry') {
        from.destroy();
        to.end(fate);
      } else {
        if (!to.write(chunk)) {
          from.pause();
          to.once('drain', () => from.resume());
        }
        const takesMs = (1_000 * chunk.length) / faults.bytesPerSecond;
        if (takesMs > 1) await pause(takesMs);
      }
    }),
  );
  from.on('end', () => inTurn(() => to.end()));
  from.on('error', () => inTurn(() => to.resetAndDestroy()));
  from.on('close', () => inTurn(() => to.destroySoon()));
}
