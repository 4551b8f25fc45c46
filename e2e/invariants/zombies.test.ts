import { type AssignedRun, progressRun } from '@muster/shared/contract/dispatch';
import { OUTCOMES } from '@muster/shared/lifecycle';
import { History } from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { checkFences } from '@muster/testing/checkers/order';
import { expect, test } from 'vitest';
import { inParallel, startNetwork } from '../fixtures/network.ts';
import type { RawAgent } from '../fixtures/raw-agent.ts';
import { tableHashes } from '../fixtures/tables.ts';
import { SCALE, TIMEOUT_MS } from '../proof/scale.ts';

/** A fiftieth of what is promised, unless said. */
const ZOMBIES = 20 * SCALE;

/** All that an agent can say of a run it was leased, but how it ended. */
const WORDS: Record<string, (zombie: RawAgent, run: AssignedRun) => Promise<unknown>> = {
  start: (zombie, run) => zombie.start(run),
  progress: (zombie, { run_id, fence }) =>
    zombie.call(progressRun, { params: { run_id }, body: { fence, percent: 50, checkpoint: 'late' } }),
};
/** What a word that comes too late is told. */
const STALE = { status: 409, code: 'stale-lease' };

test(
  `I4: ${ZOMBIES} agents that were silent for 45 s and go on as before change nothing, while others run their tasks and after`,
  async () => {
    const network = await startNetwork();
    const agents = (n: number) => inParallel(Array.from({ length: n }), 8, () => network.rawAgent());
    const history = new History();
    const take = (those: readonly RawAgent[]) =>
      inParallel(those, 8, async (agent) => {
        const poll = () => agent.poll({ wait_ms: 10_000 });
        return (await history.call(agent.agentId, 'poll', {}, poll)).runs[0]!;
      });
    /** Whatever becomes of it: that is judged when all is said. */
    const end = (agent: RawAgent, run: AssignedRun, outcome: (typeof OUTCOMES)[number]) => {
      const { task_id, fence } = run;
      const result = { outcome, ...(outcome === 'COMPLETED' ? { result_data: 'late' } : {}) };
      const report = history.call(agent.agentId, 'result', { task_id, fence, outcome }, () =>
        agent.report(run, result),
      );
      return report.catch((refusal: unknown) => refusal);
    };
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
    const haunt = async () => {
      const answers: unknown[] = [];
      const polled: unknown[] = [];
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
        for (const run of both) {
          for (const [word, say] of Object.entries(WORDS))
            await expect(say(zombie, run), word).rejects.toMatchObject(STALE);
          for (const outcome of OUTCOMES) answers.push(await end(zombie, run, outcome));
        }
        const outcome = 'COMPLETED' as const;
        const results = both.map(({ run_id, fence }) => ({ run_id, fence, outcome }));
        const { results: said = [] } = await zombie.poll({ slots: 0, results });
        for (const [i, { task_id, fence }] of both.entries())
          history.told(zombie.agentId, 'result', { task_id, fence, outcome }, said[i]);
        polled.push(...said);
      });
      assertFindings([checkFences(history.entries)], { minimum: ZOMBIES * (OUTCOMES.length + 1) });
      expect(answers).toHaveLength(2 * ZOMBIES * OUTCOMES.length);
      for (const answer of answers) expect(answer).toMatchObject(STALE);
      expect(polled).toHaveLength(2 * ZOMBIES);
      for (const said of polled) expect(said).toMatchObject({ applied: false, code: STALE.code });
      expect(await ofAll()).toEqual(before);
    };
    await haunt();
    await inParallel(others, 8, (agent, n) => agent.complete(held[n]!, 'in time'));
    await haunt();
    for (const { task_id } of lost)
      expect(await network.task(task_id)).toMatchObject({ status: 'COMPLETED', attempt: 2, result_data: 'in time' });
  },
  TIMEOUT_MS,
);
