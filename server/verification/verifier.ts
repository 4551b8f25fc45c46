import type { Verifier } from '../dispatch/claim.ts';
import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { Limits } from '../tasks/limits.ts';
import type { Random } from '../trust/draw.ts';
import { vouches } from '../trust/scrutiny.ts';
import { findKnown, keyOf } from '../trust/store/integrity.ts';
import { drawCanaries } from './canary.ts';
import { checkDue } from './check.ts';
import { apartIn, createFields, type FieldOf, partiesOf, vouchedIn } from './field.ts';
import { partnersOf } from './plan.ts';
import { findClaimed, openVerifications } from './store/open.ts';
import { claimWanted, findWantedClasses, type LeftOff } from './store/wanted.ts';

/** Of how many agents it is known where their looks left off; where there are more, all begin again. */
const AGENTS = 10_000;

/** The verifier of a coordinator, and what its loops do. */
export interface Verification extends Verifier {
  /** Learns what runs are wanted of, and answers the classes. */
  refresh(): Promise<number[]>;
  /** Looks at the checks that are due: one look at a time, and those who ask meanwhile share the next. */
  check(): Promise<number>;
}

/** `random`: what is left to chance, for tests to foresee. */
export function createVerification(
  deps: Pick<Deps, 'db' | 'notifier' | 'log'>,
  classes: Pick<Classes, 'find' | 'idOf' | 'verified'>,
  limits: Limits,
  random: Random = Math.random,
): Verification {
  const { db, notifier, log } = deps;
  let wanted: ReadonlySet<number> = new Set();
  const looks = new Map<string, LeftOff>();
  notifier.on('wanted', (classIds) => {
    wanted = new Set([...wanted, ...classIds]);
  });
  const fieldOf = createFields(deps);
  const looking = { fieldOf, classes, random };
  const look = createBatcher(async (asked: null[]) => {
    const moved = await checkDue(deps, looking);
    return asked.map(() => moved);
  });
  const laneOf = (id: number) => {
    const it = classes.find(id)!;
    return { ...it, limited: limits.concern(it), begins: 0, stride: 1 };
  };
  return {
    verified: classes.verified,
    wants: (classIds) => wanted.size > 0 && classIds.some((id) => wanted.has(id)),
    async claim(claimant, classIds) {
      const lanes = classIds.filter((id) => wanted.has(id) && classes.find(id)).map(laneOf);
      const { runs, left } = await claimWanted(db.hot, claimant, lanes, looks.get(claimant.agent_id));
      if (left.size === 0) looks.delete(claimant.agent_id);
      else if (looks.size < AGENTS) looks.set(claimant.agent_id, left);
      else looks.clear();
      return runs;
    },
    async claimed(fences) {
      notifier.tell('wanted', await open(deps, fieldOf, random, fences));
    },
    reported: () =>
      void look(null).catch((error) => log.warn({ err: error }, 'results that came in were not looked at')),
    async refresh() {
      const found = await findWantedClasses(db.hot);
      wanted = new Set(found);
      return found;
    },
    check: () => look(null),
  };
}

/** Draws how closely the answers of runs are looked at that were just claimed. */
async function open(
  { db }: Pick<Deps, 'db'>,
  fieldOf: FieldOf,
  random: Random,
  fences: readonly number[],
): Promise<number[]> {
  const runs = await findClaimed(db.hot, fences);
  if (runs.length === 0) return [];
  const known = await findKnown(db.hot, runs);
  const openings = runs.map(async (run) => {
    const agent = known.get(keyOf(run))!;
    const wanted = partnersOf(run.verification, agent, random);
    if (wanted === 0) return { fence: run.fence, wanted, trusted: false, apart: 'owner' as const };
    const field = await fieldOf(run.class_id);
    const apart = apartIn(field);
    return { fence: run.fence, wanted, apart, trusted: !vouches(agent) && vouchedIn(field, partiesOf([run]), apart) };
  });
  const wanted = await openVerifications(db.hot, await Promise.all(openings));
  const drawnFor = runs.map((run) => ({ capability: run.capability, agent: known.get(keyOf(run))! }));
  return [...wanted, ...(await drawCanaries({ db }, drawnFor, random))];
}
