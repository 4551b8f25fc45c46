import { getTrust, replayTrust } from '@muster/shared/contract/trust';
import { eventually } from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { type Fleet, startFleet } from '@muster/testing/fleet/fleet';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startNetwork, type TestNetwork } from './fixtures/network.ts';
import type { RawAgent } from './fixtures/raw-agent.ts';

const AGENTS = 60;
const PERSONAS = {
  honest: { share: 0.6 },
  flaky: { share: 0.1, wrong_rate: 0.05, failure_rate: 0, missed_beat_rate: 0 },
  saboteur: { share: 0.1, slots: 2 },
  sleeper: { share: 0.1, good_runs: 2 },
  oscillator: { share: 0.05, good_runs: 1, bad_runs: 2 },
  ring: { share: 0.05 },
};
const VERIFIED = { policy: 'adaptive', comparator: { kind: 'json' } } as const;

/** Submits so many tasks and waits for their end. */
async function work(network: TestNetwork, fleet: Fleet, count: number, task: object) {
  const submit = (_: unknown, n: number) => fleet.submit({ input_data: { n }, ...task });
  const ids = await inParallel(Array.from({ length: count }), 20, submit);
  await fleet.drained();
  return inParallel(ids, 3, (task_id) => network.task(task_id));
}

const trustOf = (network: TestNetwork, agent_id: string) => network.admin(getTrust, { params: { agent_id } });

/** How often an agent was found wrong before what put it in quarantine was looked at; undefined where it never was. */
async function faultsBefore({ sql }: TestNetwork, agent_id: string): Promise<number | undefined> {
  const told = await sql<{ event_id: string; kind: string; found: string }[]>`
    select event_id, kind, e.detail -> (n::int - 1) ->> 'found' as found from events e, unnest(e.subject_ids) with ordinality as s(id, n)
    where id = ${agent_id} and kind in ('trust.verdict', 'agent.quarantined') order by event_id, n`;
  const quarantine = told.find(({ kind }) => kind === 'agent.quarantined');
  const before = told.filter(({ event_id, found }) => BigInt(event_id) < BigInt(quarantine?.event_id ?? 0) && found);
  return quarantine && before.filter(({ found }) => found !== 'RIGHT').length;
}

/** Takes three runs, answers two of them with lies, and all it is given then, for what nobody can decide is no proof; keeps one until it is told that it is no longer its own. */
async function lieUntilCaught(mole: RawAgent) {
  const held: Awaited<ReturnType<RawAgent['poll']>>['runs'] = [];
  while (held.length < 3) {
    const holding = held.map(({ run_id }) => run_id);
    held.push(...(await mole.poll({ slots: 3 - held.length, wait_ms: 1_000, holding })).runs);
  }
  const [kept, ...rest] = held as [(typeof held)[0], ...typeof held];
  const { run_id, fence } = kept;
  const isLost = async () => {
    for (const run of rest.splice(0)) await mole.complete(run, { lie: run.fence });
    const { lost } = await mole.beat({ runs: [{ run_id, fence }] });
    if (lost.includes(run_id)) return true;
    rest.push(...(await mole.poll({ slots: 1, holding: [run_id] })).runs);
    return false;
  };
  await eventually(isLost, { timeoutMs: 60_000, everyMs: 100 });
  return kept;
}

test('sixty agents of which many lie: their work is done by others, and the records say what happened', async () => {
  const network = await startNetwork();
  const { coordinator } = network;
  const fleet = await startFleet({ coordinator, agents: AGENTS, owners: AGENTS, seed: 5, personas: PERSONAS });
  onTestFinished(() => fleet.stop());

  // Nobody checks: no run more than there are tasks, lies are taken for answers, and what an agent says of itself makes it no better.
  const unchecked = await work(network, fleet, 60, {});
  for (const task of unchecked) expect(task).toMatchObject({ status: 'COMPLETED', finality: null, runs: [{}] });
  expect(fleet.tally.counts.claimed).toBe(60);
  expect(fleet.tally.counts.wrong).toBeGreaterThan(0);
  for (const { agentId } of fleet.members)
    for (const it of (await trustOf(network, agentId)).capabilities)
      expect(it).toMatchObject({ integrity: 1, standing: 'NEWCOMER' });

  // Others check: a lie is only taken where a whole ring tells it.
  const enrollment_token = await network.enrol({ owner: 'mole', serves: 'all' });
  const mole = await network.rawAgent({ enrollment_token, capabilities: ['fleet'], slots: 3 });
  const [checked, kept] = await Promise.all([
    work(network, fleet, 90, { verification: VERIFIED }),
    lieUntilCaught(mole),
  ]);
  const answered = checked.filter(({ status }) => status === 'COMPLETED');
  expect(answered.length).toBeGreaterThan(85);
  for (const { input_data, result_data } of answered)
    if ((result_data as { says?: string }).says !== 'the ring') expect(result_data).toEqual(input_data);

  // What a caught agent has is taken from it, and done by another.
  await expect(mole.complete(kept, { lie: 3 })).rejects.toMatchObject({ code: 'stale-lease' });
  expect(await mole.poll({ slots: 3, wait_ms: 0 })).toMatchObject({ runs: [] });
  const { runs } = checked.find(({ task_id }) => task_id === kept.task_id)!;
  expect(runs.find(({ run_id }) => run_id === kept.run_id)).toMatchObject({ status: 'RETURNED', fault: 'system' });
  expect(runs.filter(({ status }) => status === 'COMPLETED').length).toBeGreaterThan(1);

  // Each saboteur by its second lie that was looked at.
  const saboteurs = fleet.members.filter(({ name }) => name.startsWith('saboteur'));
  expect(saboteurs).toHaveLength(6);
  for (const agentId of [mole.agentId, ...saboteurs.map((it) => it.agentId)]) {
    await eventually(async () => expect(await trustOf(network, agentId)).toMatchObject({ standing: 'QUARANTINED' }));
    expect(await faultsBefore(network, agentId)).toBeLessThanOrEqual(1);
  }

  // Who was caught is given nothing any more, checked or not.
  const out = [];
  for (const member of fleet.members)
    if ((await trustOf(network, member.agentId)).standing === 'QUARANTINED') out.push(member);
  expect(out.length).toBeGreaterThanOrEqual(saboteurs.length);
  const before = out.map(({ answers }) => answers);
  await work(network, fleet, 60, {});
  expect(out.map(({ answers }) => answers)).toEqual(before);

  // The ledger, folded anew, is what everybody is trusted by.
  for (const { agentId } of fleet.members) {
    const params = { agent_id: agentId };
    const { capabilities } = await network.admin(replayTrust, { params, query: { dry_run: 'true' } });
    expect(capabilities).toHaveLength(1);
    const [{ difference, integrity }] = capabilities as [(typeof capabilities)[0]];
    expect(difference).toBeLessThanOrEqual(1e-12);
    expect(integrity?.difference ?? 0).toBeLessThanOrEqual(1e-12);
    expect(integrity?.replayed).toEqual(integrity?.kept);
  }
  assertFindings((await fleet.report()).promises);
});
