import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { ProblemError } from '@muster/shared/errors';
import { eventually, type Supervisor, startFleet } from '@muster/testing';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { inParallel, startProcessNetwork, supervise } from '../fixtures/network.ts';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { part, SLACK, tell, timesOf, WHOLE } from './scale.ts';

const range = (length: number) => Array.from({ length }, (_, n) => n);
const PHASE_MS = WHOLE ? 60_000 : 2_000;
/** Submits in flight: as many as keep a coordinator busy, and many more than it works on at once. */
const BUSY = 32;
const CROWD = 3_000;
/** Which part of the peak is to be left. A fiftieth is over before it says much. */
const GOODPUT = 0.9 / Math.min(SLACK, 3);
const BEAT_MS = 1_000 * SLACK;

/** What became of the submits of a crowd. */
interface Crowd {
  acked: string[];
  shed: number;
  retry_after: number;
  other: Record<string, number>;
}

/** A crowd in a process of its own, behind everybody else: what it takes of the machine is not the coordinator's. */
async function startCrowd(supervisor: Supervisor, url: string, key: string, inFlight: number): Promise<Crowd> {
  const program = fileURLToPath(new URL('../fixtures/submit-load.mjs', import.meta.url));
  const crowd = await supervisor.process({
    name: 'crowd',
    command: 'nice',
    args: ['-n', '10', process.execPath, program, url, key, String(inFlight), String(PHASE_MS)],
    ready: ({ msg }) => msg === 'ready',
  });
  const done = await crowd.waitForLine(({ msg }) => msg === 'done', { timeoutMs: PHASE_MS + 120_000 });
  return done as unknown as Crowd;
}

/** Beats five times a second, each of some agents, until told to stop: how long each took, in milliseconds. */
async function beatUntil(over: () => boolean, agents: readonly RawAgent[]): Promise<number[]> {
  const took: number[] = [];
  const beat = async (agent: RawAgent) => {
    for (; !over(); await pause(200)) {
      const since = performance.now();
      await agent.beat();
      took.push(performance.now() - since);
    }
  };
  await Promise.all(agents.map(beat));
  return took;
}

test(
  'I24: three times what can be done is offered: what is done is nine tenths of the most, beats go through, and no lease ends',
  async () => {
    const supervisor = supervise();
    const network = await startProcessNetwork(supervisor);
    const { url, adminKey, databaseUrl } = network.coordinator;
    const sql = postgres(databaseUrl!, { max: 1, onnotice: () => {} });
    onTestFinished(() => sql.end({ timeout: 1 }));
    const personas = { honest: { slots: 8, speed_ms: 0 } };
    const fleet = await startFleet({ coordinator: { url, adminKey }, agents: 20, capability: 'crowd', personas });
    onTestFinished(() => fleet.stop());
    const enrollment_token = await network.enrol();
    const beating = await inParallel(range(20), 5, () =>
      RawAgent.register({ url }, { enrollment_token, capabilities: ['nothing'] }),
    );
    /** What was done a second while so many submits were in flight, and what was offered. */
    const phase = async (inFlight: number) => {
      let over = false;
      const beats = beatUntil(() => over, beating);
      const before = fleet.tally.counts.completed;
      const since = performance.now();
      const crowd = await startCrowd(supervisor, url, adminKey, inFlight);
      const seconds = (performance.now() - since) / 1_000;
      const done = (fleet.tally.counts.completed - before) / seconds;
      over = true;
      const offered = (crowd.acked.length + crowd.shed) / seconds;
      return { ...crowd, done, offered, took: await beats };
    };
    const peak = await phase(BUSY);
    const crowded = await phase(CROWD);
    const acked = [...peak.acked, ...crowded.acked];
    const [row] = await sql<[{ missing: number; lost: number }]>`
      select (select count(*)::int from unnest(${acked}::text[]) as a(task_id) where not exists (select from tasks t where t.task_id = a.task_id)) as missing,
        (select count(*)::int from runs where status = 'LOST') as lost`;
    tell('overload', {
      seconds: (2 * PHASE_MS) / 1_000,
      acknowledged: acked.length,
      'at the peak: offered a second': Math.round(peak.offered),
      'at the peak: done a second': Math.round(peak.done),
      'overloaded: offered a second': Math.round(crowded.offered),
      'overloaded: done a second': Math.round(crowded.done),
      shed: crowded.shed,
      goodput: Number((crowded.done / peak.done).toFixed(3)),
      'a beat is answered at the peak': timesOf(peak.took),
      'a beat is answered when overloaded': timesOf(crowded.took),
      'leases that ended': row.lost,
      lost: row.missing,
    });
    expect(crowded.offered).toBeGreaterThan(WHOLE ? 3 * peak.offered : 0);
    expect(crowded.shed).toBeGreaterThan(0);
    expect(crowded.retry_after).toBe(crowded.shed);
    expect([peak.other, crowded.other]).toEqual([{}, {}]);
    expect(row).toEqual({ missing: 0, lost: 0 });
    expect(crowded.took.length).toBeGreaterThan(PHASE_MS / 100);
    expect(timesOf(crowded.took).p99).toBeLessThanOrEqual(BEAT_MS);
    expect(crowded.done / peak.done).toBeGreaterThanOrEqual(GOODPUT);
  },
  2 * PHASE_MS + 300_000,
);

const HELD_MS = WHOLE ? 30_000 : 2_000;
const LISTS = part(500) * (WHOLE ? 1 : 10);

test(
  `I27: ${LISTS} lists that wait for a table nobody lets go of for ${HELD_MS / 1_000} s hold up no beat and no result, and are answered when it is`,
  async () => {
    const network = await startProcessNetwork(supervise());
    const { url, databaseUrl } = network.coordinator;
    const agent = await RawAgent.register(
      { url },
      { enrollment_token: await network.enrol(), capabilities: ['work'], slots: 100 },
    );
    const cron = { task_type: 'never', input_data: null, cron_expression: '0 0 1 1 *' };
    const { schedule_id } = await network.admin(createSchedule, { body: cron });
    // From now on its class is known; a task of a new one has to wait for a connection that lists may have.
    await network.submit({ task_type: 'work', input_data: null });
    const list = () => network.admin(listExecutions, { params: { schedule_id } });
    const held = postgres(databaseUrl!, { max: 1, onnotice: () => {} });
    onTestFinished(() => held.end({ timeout: 1 }));
    await held`begin`;
    await held`lock table executions in access exclusive mode`;
    const refusals: { code: string; ms: number }[] = [];
    const lists = range(LISTS).map(async () => {
      const since = performance.now();
      await list().catch((error) => {
        if (!(error instanceof ProblemError)) throw error;
        refusals.push({ code: error.code, ms: performance.now() - since });
      });
    });
    const until = performance.now() + HELD_MS;
    const took: number[] = [];
    const timed = async <T>(call: Promise<T>): Promise<T> => {
      const since = performance.now();
      const answer = await call;
      took.push(performance.now() - since);
      return answer;
    };
    while (performance.now() < until) {
      await network.submit({ task_type: 'work', input_data: null });
      await timed(agent.beat());
      const { runs } = await agent.poll();
      for (const run of runs) await timed(agent.complete(run));
      await pause(50);
    }
    await held`rollback`;
    const freedAt = performance.now();
    await eventually(list, { timeoutMs: 30_000 });
    const recoveredMs = performance.now() - freedAt;
    await Promise.all(lists);
    tell('overload: connections are held', {
      lists: LISTS,
      seconds: HELD_MS / 1_000,
      refused: refusals.length,
      'refused after': timesOf(refusals.map(({ ms }) => ms)),
      'beats and results are answered': timesOf(took),
      'lists are answered again, ms': Math.round(recoveredMs),
    });
    expect(took.length).toBeGreaterThan(HELD_MS / 500);
    expect(timesOf(took).p99).toBeLessThanOrEqual(2_000 * SLACK);
    expect(refusals.filter(({ code }) => code !== 'overloaded' && code !== 'storage-unavailable')).toEqual([]);
    expect(recoveredMs).toBeLessThanOrEqual(1_000 * SLACK);
  },
  HELD_MS + 300_000,
);
