import { type AssignedRun, progressRun } from '@muster/shared/contract/dispatch';
import { OUTCOMES } from '@muster/shared/lifecycle';
import { expect, test } from 'vitest';
import { inParallel, startNetwork } from '../fixtures/network.ts';
import type { RawAgent } from '../fixtures/raw-agent.ts';
import { tableHashes } from '../fixtures/tables.ts';
import { SCALE, TIMEOUT_MS } from './cluster.ts';

/** A fiftieth of what is promised, unless said. */
const ZOMBIES = 20 * SCALE;

/** All that an agent can say of a run it was leased. */
const WORDS: Record<string, (zombie: RawAgent, run: AssignedRun) => Promise<unknown>> = {
  start: (zombie, run) => zombie.start(run),
  progress: (zombie, { run_id, fence }) =>
    zombie.call(progressRun, { params: { run_id }, body: { fence, percent: 50, checkpoint: 'late' } }),
  ...Object.fromEntries(
    OUTCOMES.map((outcome) => [
      `result ${outcome}`,
      (zombie: RawAgent, run: AssignedRun) =>
        zombie.report(run, { outcome, ...(outcome === 'COMPLETED' ? { result_data: 'late' } : {}) }),
    ]),
  ),
};

test(
  `I4: ${ZOMBIES} agents that were silent for 45 s and go on as before change nothing, while others run their tasks and after`,
  async () => {
    const network = await startNetwork();
    const agents = (n: number) => inParallel(Array.from({ length: n }), 8, () => network.rawAgent());
    const take = (those: readonly RawAgent[]) => inParallel(those, 8, (agent) => agent.take());
    const zombies = await agents(ZOMBIES);
    for (const n of zombies.keys()) await network.submit({ task_type: 'work', input_data: n });
    const lost = await take(zombies);
    await network.clock.advance('45s', { beats: 'missed' });
    const others = await agents(ZOMBIES);
    const held = await take(others);
    expect(held.map(({ task_id }) => task_id).sort()).toEqual(lost.map(({ task_id }) => task_id).sort());
    expect(Math.min(...held.map(({ fence }) => fence))).toBeGreaterThan(Math.max(...lost.map(({ fence }) => fence)));

    // A beat says that the agent lives, and no more: of its runs it is told that they are lost, of others' too.
    const ofAll = async () => {
      const { presence: _, ...hashes } = await tableHashes(network.sql);
      return hashes;
    };
    let refused = 0;
    const haunt = async () => {
      const before = await ofAll();
      await inParallel(zombies, 8, async (zombie, n) => {
        const runs = [lost[n]!, held[n]!].map(({ run_id, fence }) => ({
          run_id,
          fence,
          started: true,
          progress: { percent: 9 },
        }));
        expect((await zombie.beat({ runs })).lost).toEqual(runs.map(({ run_id }) => run_id));
      });
      // However slow the machine is, nobody's time is up before all is said.
      await network.sql`update presence set lease_expires_at = lease_expires_at + interval '1 hour'`;
      await inParallel(zombies, 8, async (zombie, n) => {
        const both = [lost[n]!, held[n]!];
        for (const run of both)
          for (const [word, say] of Object.entries(WORDS)) {
            await expect(say(zombie, run), word).rejects.toMatchObject({ status: 409, code: 'stale-lease' });
            refused += 1;
          }
        const results = both.map(({ run_id, fence }) => ({ run_id, fence, outcome: 'COMPLETED' as const }));
        const { results: said } = await zombie.poll({ slots: 0, results });
        expect(said).toEqual(results.map(({ run_id }) => ({ run_id, applied: false, code: 'stale-lease' })));
      });
      expect(await ofAll()).toEqual(before);
    };
    await haunt();
    await inParallel(others, 8, (agent, n) => agent.complete(held[n]!, 'in time'));
    await haunt();
    expect(refused).toBe(2 * ZOMBIES * 2 * Object.keys(WORDS).length);
    for (const { task_id } of lost)
      expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', attempt: 2, result_data: 'in time' });
  },
  TIMEOUT_MS,
);
