import type { HandOff, Offer } from '../tasks/submit.ts';
import type { ClaimedRun } from './store/claim.ts';

/** A poll that found nothing and waits. */
interface Parked {
  agent_id: string;
  boot_id: string;
  slots: number;
  classIds: readonly number[];
  runs: ClaimedRun[];
  /** Tasks on their way to it in statements not yet answered, and whether a claim for it is. */
  reserved: number;
  claiming: boolean;
  ended: boolean;
  resolve(runs: ClaimedRun[]): void;
}

export interface Parking {
  /** Waits until there are runs for the poll, its time is up or `signal` ends it: then with none. */
  park(
    poll: { agent_id: string; boot_id: string; slots: number; classIds: readonly number[] },
    waitMs: number,
    signal: AbortSignal,
  ): Promise<ClaimedRun[]>;
  /** Gives the tasks of a submit to parked polls. */
  handOff: HandOff;
  /** Lets parked polls of these classes claim. */
  wake(classIds: readonly number[]): void;
  /** The classes parked polls wait for. */
  awaited(): number[];
  /** Ends every wait, and every later one at once: the coordinator drains. */
  close(): void;
  readonly size: number;
}

/** How many parked polls one piece of news wakes at first; more are woken while claims find work. */
const WAKE_AT_ONCE = 16;

/**
 * Where polls wait, first come first served. A poll may be in three hands at once: a submit that hands it tasks, a claim it
 * was woken for, and its timer. It is answered when the last of them has let go, so that no run is given to a poll that left.
 */
export function createParking(
  claim: (poll: {
    agent_id: string;
    boot_id: string;
    slots: number;
    classIds: readonly number[];
  }) => Promise<ClaimedRun[]>,
): Parking {
  const byClass = new Map<number, Set<Parked>>();
  const byAgent = new Map<string, Parked>();
  let closed = false;

  const enter = (poll: Parked) => {
    byAgent.set(poll.agent_id, poll);
    for (const id of poll.classIds) {
      const waiting = byClass.get(id) ?? new Set();
      byClass.set(id, waiting.add(poll));
    }
  };
  const leave = (poll: Parked) => {
    if (byAgent.get(poll.agent_id) === poll) byAgent.delete(poll.agent_id);
    for (const id of poll.classIds) {
      byClass.get(id)?.delete(poll);
      if (byClass.get(id)?.size === 0) byClass.delete(id);
    }
  };
  const settle = (poll: Parked) => {
    if (poll.reserved > 0 || poll.claiming || (poll.runs.length === 0 && !poll.ended)) return;
    leave(poll);
    poll.resolve(poll.runs);
  };
  const end = (poll: Parked) => {
    poll.ended = true;
    settle(poll);
  };
  const free = (poll: Parked) => (poll.ended || poll.claiming ? 0 : poll.slots - poll.runs.length - poll.reserved);

  const claimFor = async (poll: Parked): Promise<boolean> => {
    poll.claiming = true;
    try {
      const runs = await claim({ ...poll, slots: poll.slots - poll.runs.length - poll.reserved });
      poll.runs.push(...runs);
      return runs.length > 0;
    } catch {
      // The poll's own caller learns of a broken database by its next request.
      return false;
    } finally {
      poll.claiming = false;
      settle(poll);
    }
  };
  const wakeClass = async (id: number) => {
    for (let found = true; found; ) {
      const woken = [...(byClass.get(id) ?? [])].filter((poll) => free(poll) > 0).slice(0, WAKE_AT_ONCE);
      found = (await Promise.all(woken.map(claimFor))).some(Boolean);
    }
  };
  const offerTo = (poll: Parked): Offer => {
    poll.reserved += 1;
    return {
      agent_id: poll.agent_id,
      boot_id: poll.boot_id,
      accept(fence, task) {
        poll.reserved -= 1;
        poll.runs.push({ ...task, fence, attempt: 1 });
        settle(poll);
      },
      decline() {
        poll.reserved -= 1;
        // Its slots are not what it thinks, or it is closed: it should not be offered the next task too.
        end(poll);
      },
    };
  };
  return {
    park: (poll, waitMs, signal) =>
      new Promise((resolve) => {
        const older = byAgent.get(poll.agent_id);
        if (older) end(older);
        const timer = setTimeout(() => end(parked), waitMs);
        const onAbort = () => end(parked);
        const parked: Parked = {
          ...poll,
          runs: [],
          reserved: 0,
          claiming: false,
          ended: false,
          resolve(runs) {
            clearTimeout(timer);
            signal.removeEventListener('abort', onAbort);
            resolve(runs);
          },
        };
        enter(parked);
        if (closed || signal.aborted) end(parked);
        else signal.addEventListener('abort', onAbort, { once: true });
      }),
    handOff(classIds) {
      // One task each in turns, so that a batch spreads over everybody who waits.
      const turns = new Map<number, Iterator<Parked>>();
      const next = (id: number): Parked | undefined => {
        for (let rounds = 0; rounds < 2; rounds += 1) {
          const turn = turns.get(id) ?? (byClass.get(id) ?? new Set<Parked>()).values();
          turns.set(id, turn);
          for (let it = turn.next(); !it.done; it = turn.next()) if (free(it.value) > 0) return it.value;
          turns.delete(id);
        }
        return undefined;
      };
      return classIds.map((id) => {
        const poll = byClass.has(id) ? next(id) : undefined;
        return poll && offerTo(poll);
      });
    },
    wake(classIds) {
      for (const id of classIds) if (byClass.has(id)) void wakeClass(id);
    },
    close() {
      closed = true;
      for (const poll of [...byAgent.values()]) end(poll);
    },
    awaited: () => [...byClass.keys()],
    get size() {
      return byAgent.size;
    },
  };
}
