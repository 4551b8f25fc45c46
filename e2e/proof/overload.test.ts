import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createSchedule, listExecutions } from '@muster/shared/contract/schedules';
import { eventually, History, type Supervisor } from '@muster/testing';
import { assertFindings } from '@muster/testing/checkers';
import { checkTimes, timesOf as tookOf } from '@muster/testing/checkers/answers';
import postgres from 'postgres';
import { expect, onTestFinished, test } from 'vitest';
import { get, openLines } from '../fixtures/line.mjs';
import { inParallel, startProcessNetwork, supervise } from '../fixtures/network.ts';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { part, SLACK, tell, timesOf, WHOLE } from './scale.ts';

const range = (length: number) => Array.from({ length }, (_, n) => n);
/** How long is counted what is done, once it has been going for a while: at first what was submitted is not done yet. */
const [WARM_MS, PHASE_MS] = WHOLE ? [2_000, 8_000] : [0, 1_000];
/** Submits in flight, of which those are taken that most is done with. */
const PEAKS = WHOLE ? [32, 128, 256, 512] : [32];
/** How often the peak and the overload are gone through in turns, now one first and now the other: what else the machine does falls on both. */
const ROUNDS = WHOLE ? 10 : 1;
/** How many times the peak is offered; in a fiftieth that is of a coordinator that is still cold, which soon does more. */
const TIMES = WHOLE ? 3 : 8;
/** What agents there are is not to be what is too little. */
const FLEET = { agents: WHOLE ? 20 : 10, slots: 50 };
/** On how many connections those come that come by the clock. */
const CONNECTIONS = WHOLE ? 1_000 : 600;
/** Which part of the peak is to be left. A fiftieth is over before it says anything about that. */
const GOODPUT = WHOLE ? 0.9 / Math.min(SLACK, 3) : 0;
const BEAT_MS = 1_000 * SLACK;

/** What became of the submits of a crowd in so many seconds. */
interface Crowd {
  /** How many came, and how many of them found a connection that was free. */
  offered: number;
  asked: number;
  acked: string[];
  shed: number;
  retry_after: number;
  cut: number;
  unanswered: number;
  other: Record<string, number>;
  took: { acked: number[]; shed: number[] };
  seconds: number;
}

const program = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** A load in a process of its own, behind everybody else: what it takes of the machine is not the coordinator's. */
const startLoad = (supervisor: Supervisor, name: string, nice: number, args: readonly unknown[]) =>
  supervisor.process({
    name,
    command: 'nice',
    args: ['-n', String(nice), process.execPath, program(`${name}.mjs`), ...args.map(String)],
    ready: ({ msg }) => msg === 'ready',
  });

/** Each agent beats twice a second, until told to stop. */
const beatUntil = (over: () => boolean, agents: readonly RawAgent[], history: History) =>
  Promise.all(
    agents.map(async (agent) => {
      for (; !over(); await pause(500)) await history.call(agent.agentId, 'beat', {}, () => agent.beat());
    }),
  );

test(
  `I24: ${TIMES} times what can be done is offered: ${WHOLE ? 'what is done is nine tenths of the most' : 'what is taken is done'}, beats go through, and no lease ends`,
  async () => {
    const supervisor = supervise();
    const network = await startProcessNetwork(supervisor);
    const { url, adminKey, databaseUrl } = network.coordinator;
    const sql = postgres(databaseUrl!, { max: 1, onnotice: () => {} });
    onTestFinished(() => sql.end({ timeout: 1 }));
    const enrollment_token = await network.enrol();
    const agents = await inParallel(range(FLEET.agents), 5, () =>
      RawAgent.register({ url }, { enrollment_token, capabilities: ['crowd'], slots: FLEET.slots }),
    );
    const crew = agents.map(({ agentId, bootId, token }) => ({ agent_id: agentId, boot_id: bootId, token }));
    await startLoad(supervisor, 'work-load', 0, [url, JSON.stringify(crew), FLEET.slots]);
    const completed = async () =>
      (await sql<[{ n: number }]>`select count(*)::int as n from runs where status = 'COMPLETED'`)[0].n;
    const histories = { in_flight: new History(), a_second: new History() };
    // Who has not done anything yet is slow.
    let acked = 50;
    await inParallel(range(acked), 20, (n) => network.submit({ task_type: 'crowd', input_data: n }));
    await eventually(async () => expect(await completed()).toBe(acked), { timeoutMs: 60_000 });
    /** What was done a second while so many submits were in flight, or so many came a second. */
    const phase = async (how: 'in_flight' | 'a_second', many: number, ...connections: number[]) => {
      const forMs = WARM_MS + PHASE_MS;
      const load = await startLoad(supervisor, 'submit-load', 10, [url, adminKey, how, many, forMs, ...connections]);
      let over = false;
      const beats = beatUntil(() => over, agents, histories[how]);
      await pause(WARM_MS);
      const [before, since] = [await completed(), performance.now()];
      await pause(PHASE_MS);
      const done = (1_000 * ((await completed()) - before)) / (performance.now() - since);
      const crowd = (await load.waitForLine(({ msg }) => msg === 'done', { timeoutMs: 120_000 })) as unknown as Crowd;
      over = true;
      await beats;
      acked += crowd.acked.length;
      // What one phase has left over is not done in the next.
      await eventually(async () => expect(await completed()).toBeGreaterThanOrEqual(acked), { timeoutMs: 60_000 });
      return { ...crowd, many, done };
    };
    type Phase = Awaited<ReturnType<typeof phase>>;
    const searched: Phase[] = [];
    for (const inFlight of PEAKS) searched.push(await phase('in_flight', inFlight));
    const best = searched.reduce((most, it) => (it.done > most.done ? it : most));
    const peaks = WHOLE ? [] : [best];
    const crowds: Phase[] = [];
    const peak = async () => void peaks.push(await phase('in_flight', best.many));
    const overload = async () => {
      const most = Math.max(best.done, ...peaks.map(({ done }) => done));
      crowds.push(await phase('a_second', TIMES * most, CONNECTIONS));
    };
    for (const n of range(ROUNDS)) {
      const turns = WHOLE ? [peak, overload] : [overload];
      for (const turn of n % 2 === 0 ? turns : turns.toReversed()) await turn();
    }
    const [row] = await sql<[{ completed: number; lost: number }]>`
      select count(*) filter (where status = 'COMPLETED')::int as completed, count(*) filter (where status = 'LOST')::int as lost from runs`;
    const sum = (of: (crowd: Phase) => number, phases = crowds) => phases.reduce((all, it) => all + of(it), 0);
    const aSecond = (of: (crowd: Phase) => number) => Math.round(sum((it) => of(it) / it.seconds) / crowds.length);
    const goodput = sum(({ done }) => done) / sum(({ done }) => done, peaks);
    const { entries } = histories.a_second;
    tell('overload', {
      seconds: ((searched.length + 2 * ROUNDS) * PHASE_MS) / 1_000,
      acknowledged: acked,
      ...Object.fromEntries(
        searched.map(({ many, done }) => [`done a second with ${many} submits in flight`, Math.round(done)]),
      ),
      'done a second at the peak, in turns with the overload': peaks.map(({ done }) => Math.round(done)).join(', '),
      '… overloaded': crowds.map(({ done }) => Math.round(done)).join(', '),
      'offered a second': aSecond(({ offered }) => offered),
      '… of them had to wait for a connection all the time': aSecond(({ offered, asked }) => offered - asked),
      '… taken': aSecond(({ acked: { length } }) => length),
      '… refused': aSecond(({ shed }) => shed),
      'cut off or not answered': sum(({ cut, unanswered }) => cut + unanswered),
      'a submit is taken': timesOf(crowds.flatMap(({ took }) => took.acked)),
      'a submit is refused': timesOf(crowds.flatMap(({ took }) => took.shed)),
      goodput: Number(goodput.toFixed(3)),
      'a beat is answered at and below the peak': timesOf(tookOf(histories.in_flight.entries, 'beat')),
      'a beat is answered when overloaded': timesOf(tookOf(entries, 'beat')),
      'leases that ended': row.lost,
    });
    for (const crowd of crowds) {
      // All connections were in use: more came than could be done.
      expect(crowd.asked).toBeLessThan(0.95 * crowd.offered);
      expect(crowd.retry_after).toBe(crowd.shed);
    }
    for (const { other, cut, unanswered } of [...searched, ...peaks, ...crowds])
      expect({ other, cut, unanswered }).toEqual({ other: {}, cut: 0, unanswered: 0 });
    expect(row).toEqual({ completed: acked, lost: 0 });
    assertFindings([checkTimes(entries, 'beat', { mostMs: BEAT_MS })], { minimum: (FLEET.agents * PHASE_MS) / 5_000 });
    expect(goodput).toBeGreaterThanOrEqual(GOODPUT);
  },
  WHOLE ? 900_000 : 60_000,
);

const HELD_MS = WHOLE ? 30_000 : 2_000;
const LISTS = part(500) * (WHOLE ? 1 : 10);
/** How long what does not wait may take, in milliseconds: less than anything that does. */
const THROUGH_MS = Math.min(2_000 * SLACK, 5_000);
/** How soon who has no connection is told so, in milliseconds. */
const REFUSED_MS = 1_000 * SLACK;

test(
  `I27: ${LISTS} lists that wait for a table nobody lets go of for ${HELD_MS / 1_000} s hold up no beat and no result, and are answered when it is`,
  async () => {
    const network = await startProcessNetwork(supervise());
    const { url, adminKey, databaseUrl } = network.coordinator;
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
    const asked = get(url, listExecutions.path.replace('{schedule_id}', schedule_id), adminKey);
    const lines = await openLines(url, LISTS);
    onTestFinished(() => lines.forEach((line) => void line.close()));
    const lists = lines.map(async (line) => {
      const since = performance.now();
      const { status, text } = (await line.ask(asked)) ?? { status: 0, text: '{"code":"cut off"}' };
      if (status !== 200) refusals.push({ code: JSON.parse(text).code, ms: performance.now() - since });
    });
    const until = performance.now() + HELD_MS;
    const history = new History();
    while (performance.now() < until) {
      await network.submit({ task_type: 'work', input_data: null });
      await history.call('agent', 'beat', {}, () => agent.beat());
      const { runs } = await agent.poll();
      for (const run of runs) await history.call('agent', 'result', {}, () => agent.complete(run));
      await pause(50);
    }
    // All but those that have a connection, and so wait for the table itself.
    await eventually(() => expect(refusals.length).toBeGreaterThanOrEqual(LISTS - 5));
    await held`rollback`;
    const freedAt = performance.now();
    await eventually(list, { timeoutMs: 30_000 });
    const recoveredMs = performance.now() - freedAt;
    await Promise.all(lists);
    const { entries } = history;
    tell('overload: connections are held', {
      lists: LISTS,
      seconds: HELD_MS / 1_000,
      refused: refusals.length,
      'refused after': timesOf(refusals.map(({ ms }) => ms)),
      'a beat is answered': timesOf(tookOf(entries, 'beat')),
      'a result is answered': timesOf(tookOf(entries, 'result')),
      'lists are answered again, ms': Math.round(recoveredMs),
    });
    const times = ['beat', 'result'].map((op) => checkTimes(entries, op, { mostMs: THROUGH_MS }));
    assertFindings(times, { minimum: HELD_MS / 1_000 });
    const soon = refusals.filter(({ ms, code }) => code === 'overloaded' && ms <= REFUSED_MS);
    expect(soon.length).toBeGreaterThanOrEqual(LISTS - 5);
    expect(refusals.filter(({ code }) => code !== 'overloaded' && code !== 'storage-unavailable')).toEqual([]);
    expect(recoveredMs).toBeLessThanOrEqual(1_000 * SLACK);
  },
  HELD_MS + 300_000,
);
