import type { SigningKeys } from '../access/signing-keys.ts';
import type { Proofs } from '../agents/dpop.ts';
import type { Deps } from '../platform/ctx.ts';
import { createRateLimit, type RateLimit } from '../platform/rate-limit.ts';
import type { Classes } from '../tasks/classes.ts';
import type { Limits } from '../tasks/limits.ts';
import type { HandOff } from '../tasks/submit.ts';
import type { Random } from '../trust/draw.ts';
import { type Claimer, createClaimer, type Verifier } from './claim.ts';
import { createDoor, type Door } from './door.ts';
import { type Beater, createBeater, createNoter, type Noter } from './heartbeat.ts';
import { Looks } from './looks.ts';
import { Parking } from './parking.ts';
import { createPrecedence } from './precedence.ts';
import { createReporter, type Reporter } from './report.ts';
import { createRoster, type Roster } from './roster.ts';
import { Turns } from './turns.ts';

/** The protocol's moving parts: one batcher per kind of statement, and the polls that wait. */
export interface Dispatch {
  classes: Classes;
  limits: Limits;
  keys: SigningKeys;
  proofs: Proofs;
  door: Door;
  roster: Roster;
  claim: Claimer;
  beat: Beater;
  note: Noter;
  reporter: Reporter;
  parking: Parking;
  /** What each agent was last given of a class, where they take turns. */
  turns: Turns;
  /** What is left to chance. */
  random: Random;
  looks: Looks;
  /** Parked polls for tasks that are being submitted; none for those a limit concerns, which only a claim counts. */
  handOff: HandOff;
  /** The classes parked polls wait for that a limit concerns. */
  limited(): number[];
  /** Asks anew about agents whom a gate concerns; parked polls of those that may do other work now have to ask again. */
  recheck(agentIds: readonly string[]): Promise<void>;
  /** Polls that found nothing, per agent. */
  emptyPolls: RateLimit;
  /** New lives, per agent. */
  restarts: RateLimit;
}

export function createDispatch(
  deps: Deps,
  { classes, limits, random, verifier }: Pick<Dispatch, 'classes' | 'limits' | 'random'> & { verifier: Verifier },
  keys: SigningKeys,
  proofs: Proofs,
): Dispatch {
  const roster = createRoster(deps, classes);
  const turns = new Turns();
  const precedence = createPrecedence(roster, classes, turns, random);
  const claim = createClaimer(deps, classes, limits, verifier, precedence.gave);
  const parking = new Parking(
    async ({ agent_id, boot_id, slots, classIds }) =>
      (await claim({ agent_id, boot_id, want: slots, classIds })) ?? { runs: [], able: false },
    precedence,
  );
  classes.onNew((it) => parking.admit(it.class_id, (agentId) => roster.matches(agentId, it)));
  classes.onPauses((paused, resumed) => {
    for (const id of paused) parking.dismiss(id);
    for (const id of resumed) {
      const it = classes.find(id);
      if (it) parking.admit(id, (agentId) => roster.matches(agentId, it));
    }
    parking.wake(resumed);
  });
  const isLimited = (id: number) => limits.concern(classes.find(id));
  const limited = () => (limits.any ? parking.awaited().filter(isLimited) : []);
  const reporter = createReporter(deps, verifier);
  const recheck = async (agentIds: readonly string[]) => {
    for (const agentId of await roster.refresh(agentIds)) parking.evict(agentId);
  };
  limits.onChange(() => parking.wake(parking.awaited()));
  deps.notifier.on('limited', () => void limits.refresh().catch(() => {}));
  deps.notifier.on('paused', () => void classes.refresh().catch(() => {}));
  for (const news of ['ready', 'wanted'] as const) deps.notifier.on(news, (classIds) => parking.wake(classIds));
  deps.notifier.on('cancelled', (run) => parking.cancel(run));
  const reconsider = (agentId: string) => {
    roster.forget(agentId);
    parking.evict(agentId);
  };
  deps.notifier.on('changed', reconsider);
  deps.notifier.on('standing', ({ agent_id }) => reconsider(agent_id));
  return {
    classes,
    limits,
    keys,
    proofs,
    door: createDoor(),
    roster,
    claim,
    beat: createBeater(deps),
    note: createNoter(deps),
    reporter: {
      async report(life, results) {
        const verdicts = await reporter.report(life, results);
        if (verdicts.some((it) => it.applied)) {
          // A run that ends makes room for others, of whatever class.
          parking.wake(limited());
          // What it has shown now may open a gate, or close one. Should that fail, the sweep does it.
          void recheck([life.agent_id]).catch(() => {});
        }
        return verdicts;
      },
    },
    parking,
    turns,
    random,
    looks: new Looks(),
    handOff: (classIds) => parking.handOff(limits.any ? classIds.map((id) => (isLimited(id) ? 0 : id)) : classIds),
    limited,
    recheck,
    emptyPolls: createRateLimit('polls that find nothing'),
    restarts: createRateLimit('restarts of this agent'),
  };
}
