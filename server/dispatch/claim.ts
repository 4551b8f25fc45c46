import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import type { Classes } from '../tasks/classes.ts';
import type { Limits } from '../tasks/limits.ts';
import { Fairness } from './fairness.ts';
import type { Precedence } from './precedence.ts';
import { type Claimant, type Claimed, claimTasks, type Standing } from './store/claim.ts';
import type { Lane } from './store/heads.ts';
import type { ClaimedRun } from './store/held-runs.ts';

interface Claim extends Claimant {
  classIds: readonly number[];
}

/** What is wanted besides what is ready, and what follows where others check the answers. Verification gives it; dispatch knows no more of it. */
export interface Verifier {
  /** The classes whose answers others check. */
  verified: ReadonlySet<number>;
  /** Whether runs are wanted of any of these classes. */
  wants(classIds: readonly number[]): boolean;
  /** Gives an agent runs that are wanted, as far as they are for it. */
  claim(claimant: Claimant, classIds: readonly number[]): Promise<ClaimedRun[]>;
  /** Draws how closely the answers of runs are looked at. */
  claimed(fences: readonly number[]): Promise<void>;
  /** Answers have come in that others check. */
  reported(): void;
}

/** Claims work for a poll: those that ask together are served by one statement for each set of classes. */
export type Claimer = (claim: Claim) => Promise<Standing | undefined>;

/** How often it is tried again at once where others had the tasks in hand that were looked at. */
const TRIES = 3;

export function createClaimer(
  { db }: Pick<Deps, 'db'>,
  classes: Pick<Classes, 'find' | 'costly'>,
  limits: Limits,
  verifier: Verifier,
  gave: Precedence['gave'] = () => {},
): Claimer {
  const fairness = new Fairness((owner) => limits.weightOf(owner));
  const lanesOf = (classIds: readonly number[]): Lane[] =>
    classIds.flatMap((id) => {
      const it = classes.find(id);
      if (!it) return [];
      const { class_id, owner, capability, slot_cost } = it;
      const { begins, stride } = fairness.turnOf(owner);
      return [{ class_id, owner, capability, slot_cost, limited: limits.concern(it), begins, stride }];
    });
  const claimOnce = async (claims: readonly Claim[]) => {
    const lanes = lanesOf(claims[0]!.want === 0 ? [] : claims[0]!.classIds);
    const claimed = await claimTasks(db.hot, claims, lanes);
    for (const [classId, agentIds] of claimed.taken) gave(classId, agentIds);
    if (verifier.verified.size > 0 && [...claimed.taken.keys()].some((id) => verifier.verified.has(id)))
      // What was claimed is told, whatever becomes of this: a result that nobody drew for is drawn for when it comes.
      await verifier.claimed(fencesOf(claimed)).catch(() => {});
    if (lanes.length > 1) {
      const begun = new Map<string, { lane: Lane; n: number }>();
      for (const lane of lanes)
        begun.set(lane.owner, {
          lane,
          n: (begun.get(lane.owner)?.n ?? 0) + (claimed.taken.get(lane.class_id)?.length ?? 0),
        });
      if (begun.size > 1) for (const [owner, { lane, n }] of begun) if (n > 0) fairness.took(owner, lane, n);
    }
    return claimed;
  };
  const claimSet = async (claims: readonly Claim[]): Promise<Map<string, Standing>> => {
    let { standings, missed } = await claimOnce(claims);
    for (let tries = 1; missed && tries < TRIES; tries += 1) {
      const open = claims.filter(({ agent_id }) => isEmptyHanded(standings.get(agent_id)));
      // What was claimed before is told, whatever becomes of this.
      const again = open.length > 0 ? await claimOnce(open).catch(() => undefined) : undefined;
      missed = again?.missed ?? false;
      standings = new Map([...standings, ...(again?.standings ?? [])]);
    }
    return standings;
  };
  const claimAll = async (claims: readonly Claim[]): Promise<(Standing | undefined)[]> => {
    const answers = new Map<Claim, Standing | undefined>();
    await Promise.all(
      setsOf(claims).map(async (set) => {
        // An agent that asks twice in one batch is served once; its other poll finds nothing.
        const byAgent = new Map(set.map((claim) => [claim.agent_id, claim]));
        const standings = await claimSet([...byAgent.values()]);
        for (const claim of set) {
          const standing = standings.get(claim.agent_id);
          answers.set(claim, standing && byAgent.get(claim.agent_id) !== claim ? { ...standing, runs: [] } : standing);
        }
      }),
    );
    return claims.map((claim) => answers.get(claim));
  };
  // Claims under a limit wait for each other, and where tasks take several slots what fits one agent does not fit another: neither holds up the rest.
  const plain = createBatcher(claimAll, { maxItems: 500 });
  const limited = createBatcher(claimAll, { maxItems: 500 });
  const costly = createBatcher(claimAll, { maxItems: 1, inFlight: 2 });
  const ready: Claimer = (claim) => {
    if (claim.want === 0) return plain(claim);
    if (classes.costly.size > 0 && claim.classIds.some((id) => classes.costly.has(id))) return costly(claim);
    return limits.any && claim.classIds.some((id) => limits.concern(classes.find(id))) ? limited(claim) : plain(claim);
  };
  return async (claim) => {
    if (claim.want === 0 || !verifier.wants(claim.classIds)) return ready(claim);
    const runs = await verifier.claim(claim, claim.classIds);
    const standing = await ready({ ...claim, want: claim.want - runs.length }).catch((error) => {
      if (runs.length === 0) throw error;
      // What was claimed is told, whatever becomes of the rest; how the agent stands is merely read.
      return plain({ ...claim, want: 0 });
    });
    return standing && runs.length > 0 ? { ...standing, able: true, runs: [...runs, ...standing.runs] } : standing;
  };
}

const fencesOf = ({ standings }: Claimed): number[] =>
  [...standings.values()].flatMap(({ runs }) => runs.map(({ fence }) => fence));

const isEmptyHanded = (it: Standing | undefined) => it?.able === true && it.runs.length === 0;

/** Claims by the classes they are for. Two lives of one agent are asked about apart: neither may be told how the other stands. */
function setsOf(claims: readonly Claim[]): Claim[][] {
  const sets = new Map<string, Claim[]>();
  const lives = new Map<string, string>();
  for (const claim of claims) {
    const life = lives.get(claim.agent_id) ?? claim.boot_id;
    lives.set(claim.agent_id, life);
    const key = `${claim.want === 0 ? '' : claim.classIds.join()}${life === claim.boot_id ? '' : ` ${claim.boot_id}`}`;
    const set = sets.get(key);
    if (set) set.push(claim);
    else sets.set(key, [claim]);
  }
  return [...sets.values()];
}
