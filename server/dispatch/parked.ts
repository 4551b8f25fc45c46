import type { ClaimedRun } from './store/held-runs.ts';

/** A poll that wants runs of some classes. */
export interface Waiting {
  agent_id: string;
  boot_id: string;
  slots: number;
  /** Of its agent's slots so many were taken when it looked for work. */
  slots_used: number;
  classIds: readonly number[];
}

/** What a poll that waited is told: runs to do, and fences of runs to stop. */
export interface News {
  runs: ClaimedRun[];
  cancel: number[];
}

/** A poll that found nothing and waits. */
export interface Parked extends Waiting {
  classIds: number[];
  runs: ClaimedRun[];
  cancel: number[];
  /** Tasks on their way to it in statements not yet answered, and whether a claim for it is. */
  reserved: number;
  claiming: boolean;
  ended: boolean;
  resolve(news: News): void;
}

/** A poll as it begins to wait. Named and not spread: V8 gives what is made by a spread a shape each, which any step through a line then looks up anew. */
export const parkedOf = (
  { agent_id, boot_id, slots, slots_used, classIds }: Waiting,
  { cancel, resolve }: Pick<Parked, 'cancel' | 'resolve'>,
): Parked => ({
  agent_id,
  boot_id,
  slots,
  slots_used,
  classIds: [...classIds],
  runs: [],
  cancel,
  reserved: 0,
  claiming: false,
  ended: false,
  resolve,
});

/** What it still wants. */
export const wantedBy = ({ agent_id, boot_id, slots, slots_used, classIds, runs, reserved }: Parked): Waiting => ({
  agent_id,
  boot_id,
  slots: slots - runs.length - reserved,
  slots_used,
  classIds,
});

/** How many tasks it may be given. */
export const free = ({ ended, claiming, slots, runs, reserved }: Parked): number =>
  ended || claiming ? 0 : slots - runs.length - reserved;

/** How many of its agent's slots are taken, with what is on its way to it. */
export const used = ({ slots_used, runs, reserved }: Parked): number => slots_used + runs.length + reserved;

/** Those that may be given one. */
export function* freeIn(polls: Iterable<Parked>): Generator<Parked> {
  for (const poll of polls) if (free(poll) > 0) yield poll;
}
