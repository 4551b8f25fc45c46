import type { Deps } from '../platform/ctx.ts';
import type { LoopSpec } from '../platform/loop.ts';
import { ACCESS_TOKEN_SECONDS } from './session.ts';
import { type Epoch, listEpochs, movedLately } from './store/epochs.ts';

/** How long a moved epoch is remembered, in seconds: a minute longer than any token from before it lives. */
const REMEMBERED_SECONDS = ACCESS_TOKEN_SECONDS + 60;

/** Which access tokens are over before their time: known in memory, so that no request has to ask. */
export interface Revocations {
  /** Whether a token is of an epoch before the agent's. */
  isOver(agentId: string, epoch: number): boolean;
  isRevoked(agentId: string): boolean;
  /** Reads what moved lately; before the first request, and then twice a second: news may get lost. */
  refresh(): Promise<number>;
  loop: LoopSpec;
}

export function createRevocations({ db, clock, notifier }: Pick<Deps, 'db' | 'clock' | 'notifier'>): Revocations {
  const moved = new Map<string, Epoch & { until: number }>();
  /** Before the first look nobody waits here. */
  let read = false;

  // What was read may be older than what was heard since: an epoch never moves back.
  const learn = ({ agent_id, token_epoch, revoked }: Epoch, at: Date): boolean => {
    const known = moved.get(agent_id);
    if (known && (known.token_epoch > token_epoch || known.revoked)) return false;
    moved.set(agent_id, { agent_id, token_epoch, revoked, until: at.getTime() + REMEMBERED_SECONDS * 1_000 });
    return known?.token_epoch !== token_epoch;
  };
  const refresh = async () => {
    for (const { token_epoch_at, ...epoch } of await listEpochs(db.hot, REMEMBERED_SECONDS)) {
      // Nobody told: a poll that waits by an older token is to be answered, and not with work.
      if (learn(epoch, token_epoch_at) && read) notifier.tell('changed', epoch.agent_id);
    }
    read = true;
    for (const [agentId, { until }] of moved) if (until < clock.now().getTime()) moved.delete(agentId);
    return 0;
  };
  notifier.on('epoch', (epoch) => void learn(epoch, clock.now()));
  return {
    isOver: (agentId, epoch) => (moved.get(agentId)?.token_epoch ?? epoch) > epoch,
    isRevoked: (agentId) => moved.get(agentId)?.revoked === true,
    refresh,
    loop: { name: 'agents.revocations', intervalMs: 500, due: movedLately(REMEMBERED_SECONDS), tick: refresh },
  };
}
