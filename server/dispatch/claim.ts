import { createBatcher } from '../platform/batcher.ts';
import type { Deps } from '../platform/ctx.ts';
import { type Claimant, claimTasks, type Standing } from './store/claim.ts';

interface Claim extends Claimant {
  classIds: readonly number[];
}

/** Claims work for a poll: those that ask together are served by one statement for each set of classes. */
export type Claimer = (claim: Claim) => Promise<Standing | undefined>;

export function createClaimer({ db }: Pick<Deps, 'db'>): Claimer {
  const claimSet = async (claims: Claim[]) => claimTasks(db.hot, claims, claims[0]?.classIds ?? []);
  return createBatcher(
    async (claims: Claim[]) => {
      const sets = new Map<string, Claim[]>();
      const lives = new Map<string, string>();
      for (const claim of claims) {
        // Two lives of one agent are asked about apart: neither may be told how the other stands.
        const life = lives.get(claim.agent_id) ?? claim.boot_id;
        lives.set(claim.agent_id, life);
        const key = `${claim.want === 0 ? '' : claim.classIds.join()}${life === claim.boot_id ? '' : ` ${claim.boot_id}`}`;
        sets.set(key, [...(sets.get(key) ?? []), claim]);
      }
      const answers = new Map<Claim, Standing | undefined>();
      await Promise.all(
        [...sets.values()].map(async (set) => {
          // An agent that asks twice in one batch is served once; its other poll finds nothing.
          const byAgent = new Map(set.map((claim) => [claim.agent_id, claim]));
          const standings = await claimSet([...byAgent.values()]);
          for (const claim of set) {
            const standing = standings.get(claim.agent_id);
            answers.set(
              claim,
              standing && byAgent.get(claim.agent_id) !== claim ? { ...standing, runs: [] } : standing,
            );
          }
        }),
      );
      return claims.map((claim) => answers.get(claim));
    },
    { maxItems: 500 },
  );
}
