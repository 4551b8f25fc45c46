import type { Standing } from './store/claim.ts';

/** Whose look for work, and for what. */
interface Looker {
  agent_id: string;
  boot_id: string;
  classIds: readonly number[];
}

/** A look for work that found none. `mark`: the moment before it; what was told since then it may have missed. */
export interface Look {
  mark: number;
  standing: Standing;
}

/** How long a look is worth anything, in milliseconds: no longer than until parked polls would look by themselves. */
const FRESH_MS = 500;

/**
 * Looks that found no work and could not be waited from, as there were results to confirm. The agent asks again in the next moment, and
 * a second look would find what the first did: its poll waits on from the first one's mark, so that news since then is looked into at once.
 */
export class Looks {
  private readonly kept = new Map<string, Looker & Look & { slots: number; until: number }>();

  /** Keeps a look of an agent that is free and could have been given work. */
  keep({ agent_id, boot_id, classIds }: Looker, slots: number, { mark, standing }: Look): void {
    const now = performance.now();
    this.forgetOld(now);
    this.kept.delete(agent_id);
    if (!standing.able || standing.slots_used > 0) return;
    this.kept.set(agent_id, { agent_id, boot_id, classIds, mark, standing, slots, until: now + FRESH_MS });
  }

  /** The agent's last look, once, if this poll would look for the same. */
  take({ agent_id, boot_id, classIds }: Looker, slots: number): Look | undefined {
    const look = this.kept.get(agent_id);
    this.kept.delete(agent_id);
    if (!look || look.until < performance.now()) return undefined;
    return look.boot_id === boot_id && look.classIds === classIds && look.slots === slots ? look : undefined;
  }

  /** They stand in the order they were kept. */
  private forgetOld(now: number): void {
    for (const [agentId, { until }] of this.kept) {
      if (until >= now) return;
      this.kept.delete(agentId);
    }
  }
}
