import { notFound, ProblemError } from '@muster/shared/errors';
import { STANDING, type Standing, statesAllowing } from '@muster/shared/lifecycle';
import { actorOf } from '../audit/record.ts';
import type { Ctx } from '../platform/ctx.ts';
import { refuseUnable } from './able.ts';
import { foldVerdicts, moveOf, tellMoves } from './lane.ts';
import { told, type Word } from './model.ts';
import { getTrust } from './read.ts';
import { EVERYTHING, findLedger, keyOf, type Ledger, listOut, writeFold } from './store/integrity.ts';

/** What an admin wants of a standing, and the word that does it wherever it may stand. */
const WISHES: Record<Exclude<Standing, 'NEWCOMER'>, Word[]> = {
  TRUSTED: ['promote'],
  PROBATION: ['refute', 'release'],
  QUARANTINED: ['quarantine'],
  BANNED: ['ban'],
};
/** Where an agent stands that a word was said of. */
const VERBS = { quarantine: 'QUARANTINED', release: 'PROBATION', ban: 'BANNED' } as const;

/** How often it is tried again where others had something to say at the same moment. */
const TRIES = 5;

/** Quarantines, releases or bans an agent, in a capability or in all. What already is so is left alone. */
export async function sayOfAgent(
  ctx: Ctx,
  verb: keyof typeof VERBS,
  agent_id: string,
  { capability, reason }: { capability?: string | undefined; reason: string },
) {
  if (capability) await refuseUnable(ctx, agent_id, capability);
  const about = { agent_id, capability: capability ?? EVERYTHING, reason };
  await sayStanding(ctx, about, { standing: VERBS[verb], words: [verb], action: `agent.${verb}` });
  return getTrust(ctx, agent_id);
}

/** Puts an agent where an admin wants it in a capability. */
export const adjustStanding = (
  ctx: Ctx,
  about: { agent_id: string; capability: string; reason: string },
  standing: keyof typeof WISHES,
): Promise<void> => sayStanding(ctx, about, { standing, words: WISHES[standing], action: 'trust.adjust' });

async function sayStanding(
  ctx: Ctx,
  about: { agent_id: string; capability: string; reason: string },
  wish: { standing: Standing; words: readonly Word[]; action: string },
): Promise<void> {
  // What was found before is not to come after.
  await foldVerdicts(ctx, { agentIds: [about.agent_id] });
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const ledger = await findLedger(ctx.db.admin, about);
    if (!ledger) throw notFound('agent', about.agent_id);
    // Of all that an agent is out of, only a release speaks.
    const others =
      about.capability === EVERYTHING && wish.words.includes('release')
        ? await listOut(ctx.db.admin, about.agent_id)
        : [];
    const ledgers = [ledger, ...others].filter(({ trust }) => wordFor(trust.standing, wish.words));
    if (ledgers.length === 0) {
      if (ledger.trust.standing === wish.standing) return;
      throw refusal(about, ledger.trust.standing, wish.words);
    }
    if (await write(ctx, ledgers, ledger.now, about.reason, wish)) return;
  }
  throw new ProblemError(
    'conflict',
    `verdicts on agent ${about.agent_id} come so fast that no word fits between them; say it again`,
  );
}

const wordFor = (from: Standing, words: readonly Word[]) =>
  words.find((word) => statesAllowing(STANDING, word).includes(from));

async function write(
  ctx: Ctx,
  ledgers: readonly Ledger[],
  at: number,
  reason: string,
  { words, action }: { words: readonly Word[]; action: string },
): Promise<boolean> {
  const by = actorOf(ctx)!;
  const said = ledgers.map((ledger) => {
    const kind = wordFor(ledger.trust.standing, words)!;
    const { agent_id, capability } = ledger;
    const step = {
      ...ledger,
      trust: told(ledger.trust, kind, at),
      fold_seq: ledger.fold_seq + 1,
      was: ledger.fold_seq,
      stood: ledger.trust.standing,
    };
    const audited = {
      before: { capability, standing: step.stood },
      after: { capability, standing: step.trust.standing, reason },
    };
    return {
      step,
      word: { agent_id, capability, kind, judge: by.actor, reason, at, fold_seq: step.fold_seq },
      facts: moveOf(ledger, ledger.trust, step.trust, kind).map((fact) => ({ ...fact, ...audited })),
    };
  });
  const steps = said.map(({ step }) => step);
  const fold = { steps, words: said.map(({ word }) => word), events: said.flatMap(({ facts }) => facts) };
  const taken = new Set((await writeFold(ctx.db.admin, fold, { actor: by, action })).map(keyOf));
  tellMoves(ctx.notifier, steps, taken);
  return taken.size === steps.length;
}

function refusal(
  { agent_id, capability }: { agent_id: string; capability: string },
  standing: Standing,
  words: readonly Word[],
) {
  const where = capability === EVERYTHING ? '' : ` in ${capability}`;
  const allowed = words.flatMap((word) => statesAllowing(STANDING, word));
  return new ProblemError(
    'conflict',
    `agent ${agent_id} is ${standing}${where}; ${words.join(' or ')} needs ${allowed.join(' or ')}`,
  );
}
