import { eventually, type TestProcess } from '@muster/testing';

/** Longer than a machine with other things to do takes to start a process, with the Postgres it needs. */
const PATIENCE_MS = 300_000;

/** Starts whoever has ended again, as whatever runs such processes does, until all are told to be whole. */
export interface Keeper<P extends TestProcess> {
  /** Those that run and are ready. */
  readonly ready: ReadonlySet<P>;
  /** How many ended though nobody told them to. */
  readonly crashes: number;
  /** Ends one by a signal or two; it starts again when it has ended and `rest` is over. */
  strike(victim: P, signals: readonly NodeJS.Signals[], rest?: Promise<unknown>): void;
  /** Resolves when all are back; from then on they are left alone. */
  whole(): Promise<void>;
}

export function keeperOf<P extends TestProcess>(all: readonly P[]): Keeper<P> {
  const ready = new Set(all);
  const struck = new Map<P, Promise<unknown>>();
  let crashes = 0;
  let over = false;
  const keep = async (it: P) => {
    for (await it.ended(); !over; await it.ended()) {
      ready.delete(it);
      if (!struck.has(it)) crashes += 1;
      await struck.get(it);
      // A coordinator that starts while Postgres is gone ends again, as it should.
      await eventually(() => it.start(), { timeoutMs: PATIENCE_MS });
      struck.delete(it);
      ready.add(it);
    }
  };
  const kept = Promise.all(all.map(keep));
  return {
    ready,
    get crashes() {
      return crashes;
    },
    strike(victim, signals, rest = Promise.resolve()) {
      ready.delete(victim);
      struck.set(victim, rest);
      for (const signal of signals) victim.kill(signal);
    },
    async whole() {
      await Promise.race([eventually(() => ready.size === all.length, { timeoutMs: PATIENCE_MS }), kept]);
      over = true;
    },
  };
}
