import { runIdOf } from '@muster/shared/ids';
import type { Standing } from '@muster/shared/lifecycle';
import type { Deps } from '../platform/ctx.ts';
import { checked, returned, type Trust, type Verdict, type Word } from './model.ts';
import {
  type Fact,
  findReturning,
  findWaiting,
  keyOf,
  type Ledger,
  type Pair,
  type Step,
  type Waiting,
  writeFold,
} from './store/integrity.ts';

/** How many verdicts are folded by one statement. */
const BATCH = 500;
/** How often it is tried again where others folded first whatever there was. */
const TRIES = 3;

/** A verdict against an agent that was folded just now, and where it stood before and stands after. */
export interface Caught extends Pair {
  fence: number;
  found: Exclude<Verdict['found'], 'RIGHT'>;
  before: Standing;
  after: Standing;
}

interface Folding {
  steps: Step[];
  stamps: (Pair & { verdict_id: number; fold_seq: number })[];
  events: Fact[];
  caught: Caught[];
}

/**
 * Folds the verdicts that wait, of some agents or of all, into what is known of their integrity, and answers how many and who was caught. Any number of
 * coordinators may do so at once: each verdict is folded by one of them, which also says so in the event `trust.verdict`, and tells
 * `standing` where one changed. Who must learn of every verdict against an agent, whoever folds it, reads those.
 */
export async function foldVerdicts(
  { db, notifier }: Pick<Deps, 'db' | 'notifier'>,
  { agentIds }: { agentIds?: readonly string[] } = {},
): Promise<{ folded: number; caught: Caught[] }> {
  const caught: Caught[] = [];
  let folded = 0;
  for (let tries = 0; tries < TRIES; ) {
    const { waiting, ledgers } = await findWaiting(db.loops, { agentIds, limit: BATCH });
    if (waiting.length === 0) break;
    const folding = fold(waiting, ledgers);
    const taken = new Set((await writeFold(db.loops, folding)).map(keyOf));
    if (taken.size === 0) tries += 1;
    tellMoves(notifier, folding.steps, taken);
    folded += folding.stamps.filter((it) => taken.has(keyOf(it))).length;
    caught.push(...folding.caught.filter((it) => taken.has(keyOf(it))));
  }
  return { folded, caught };
}

function fold(waiting: readonly Waiting[], ledgers: ReadonlyMap<string, Ledger>): Folding {
  const steps = new Map<string, Step>();
  const folding: Folding = { steps: [], stamps: [], events: [], caught: [] };
  for (const [key, ledger] of ledgers)
    steps.set(key, { ...ledger, was: ledger.fold_seq, stood: ledger.trust.standing });
  for (const { verdict_id, verdict, at, fence, kind, judge, ...pair } of waiting) {
    const step = steps.get(keyOf(pair))!;
    const before = step.trust;
    step.trust = checked(before, verdict, at);
    step.fold_seq += 1;
    folding.stamps.push({ ...pair, verdict_id, fold_seq: step.fold_seq });
    const detail = { capability: pair.capability, run_id: runIdOf(fence), kind, found: verdict.found, judge };
    folding.events.push({ ...pair, kind: 'trust.verdict', detail }, ...moveOf(pair, before, step.trust));
    if (verdict.found !== 'RIGHT')
      folding.caught.push({
        ...pair,
        fence,
        found: verdict.found,
        before: before.standing,
        after: step.trust.standing,
      });
  }
  folding.steps.push(...steps.values());
  return folding;
}

const BY_STANDING = {
  TRUSTED: 'agent.promoted',
  PROBATION: 'agent.refuted',
  QUARANTINED: 'agent.quarantined',
  BANNED: 'agent.banned',
} as const;
const BY_WORD: Partial<Record<Word, string>> = { release: 'agent.released', return: 'agent.returned' };

/** The event of a step from one standing to another; none where it stays. */
export function moveOf({ agent_id, capability }: Pair, from: Trust, to: Trust, word?: Word): Fact[] {
  if (from.standing === to.standing || to.standing === 'NEWCOMER') return [];
  const kind = (word && BY_WORD[word]) ?? BY_STANDING[to.standing];
  const quarantined_until = to.quarantined_until === null ? null : new Date(to.quarantined_until).toISOString();
  return [
    { agent_id, capability, kind, detail: { capability, from: from.standing, to: to.standing, quarantined_until } },
  ];
}

/** Tells where agents stand whose standing moved. */
export function tellMoves(notifier: Deps['notifier'], steps: readonly Step[], taken: ReadonlySet<string>): void {
  for (const { agent_id, capability, trust, stood } of steps)
    if (trust.standing !== stood && taken.has(keyOf({ agent_id, capability }))) {
      notifier.tell('standing', { agent_id, capability, standing: trust.standing });
      notifier.tell('changed', agent_id);
    }
}

/** Puts those on probation whose quarantine is over. Answers how many. */
export async function returnQuarantined({ db, notifier }: Pick<Deps, 'db' | 'notifier'>): Promise<number> {
  const { now, ledgers } = await findReturning(db.loops, BATCH);
  if (ledgers.length === 0) return 0;
  const steps = ledgers.map((it) => ({
    ...it,
    trust: returned(it.trust, now),
    fold_seq: it.fold_seq + 1,
    was: it.fold_seq,
    stood: it.trust.standing,
  }));
  const taken = await writeFold(db.loops, {
    steps,
    words: steps.map(({ agent_id, capability, fold_seq }) => ({
      agent_id,
      capability,
      fold_seq,
      at: now,
      kind: 'return',
      judge: 'time',
      reason: null,
    })),
    events: steps.flatMap((step, n) => moveOf(step, ledgers[n]!.trust, step.trust, 'return')),
  });
  tellMoves(notifier, steps, new Set(taken.map(keyOf)));
  return taken.length;
}
