// A fleet in a process of its own that speaks the protocol over keep-alive connections: it polls, does nothing, and brings
// results with the next poll. Not the SDK: what is measured is the coordinator.
import { setTimeout as pause } from 'node:timers/promises';
import { atPace, nowMs } from '../pace.mjs';
import { answer } from '../process.mjs';
import { openConnection, openConnections } from './connection.mjs';

const HEARTBEAT_INTERVAL_MS = 10_000;
const LONG_WAIT_MS = 25_000;
/** Polls come in so many at a time and so long apart: a fleet does not arrive in one moment. */
const PARKING_AT_ONCE = 100;
const PARKING_MS = 20;

let agents = [];
let shared;
let beating;

const beatOf = ({ boot_id, slots }) =>
  `{"boot_id":"${boot_id}","status":"ACTIVE","slots_free":${slots},"runs":[],"uptime_ms":1000}`;
const beat = (agent) => shared.post(`/ains/agents/${agent.agent_id}/heartbeat`, agent.token, beatOf(agent));

async function poll({ agent_id, boot_id, token, connection }, slots, wait_ms, results) {
  const body = `{"boot_id":"${boot_id}","slots":${slots},"wait_ms":${wait_ms},"holding":[],"results":[${results.join()}]}`;
  return JSON.parse(await connection.post(`/ains/agents/${agent_id}/poll`, token, body));
}

const resultOf = ({ run_id, fence }) =>
  `{"run_id":"${run_id}","fence":${fence},"outcome":"COMPLETED","result_data":{"ok":true}}`;

function close() {
  clearInterval(beating);
  for (const agent of agents) agent.connection?.close();
  shared?.close();
  agents = [];
}

answer(
  {
    /** Takes a fleet; every agent gets a connection of its own for polls, unless they only beat. */
    async open({ port, fleet, pollers = true, connections = 1 }) {
      close();
      agents = fleet.map((agent) => ({ ...agent, port }));
      shared = await openConnections(port, connections);
      if (!pollers) return;
      for (const agent of agents) agent.connection = await openConnection(port);
      await Promise.all(agents.map(beat));
      beating = setInterval(() => void Promise.all(agents.map(beat)).catch(() => {}), HEARTBEAT_INTERVAL_MS);
    },
    /** Works until `count` tasks are done and confirmed; how long that took in milliseconds. */
    async drain({ count, max }) {
      const began = nowMs();
      let claimed = 0;
      let confirmed = 0;
      let ended;
      const work = async (agent) => {
        let results = [];
        while (claimed < count || results.length > 0) {
          const sent = results.length;
          const it = await poll(agent, claimed < count ? max : 0, sent ? 0 : 50, results);
          confirmed += it.results.filter(({ applied }) => applied).length;
          claimed += it.runs.length;
          results = it.runs.map(resultOf);
          if (confirmed === count) ended ??= nowMs();
        }
      };
      await Promise.all(agents.map(work));
      if (confirmed !== count) throw new Error(`${confirmed} of ${count} were applied`);
      return ended - began;
    },
    /** Waits for `count` tasks that are yet to come; how long each took from its submit to here. */
    async listen({ count, max, patienceMs }) {
      const took = [];
      let owed = 0;
      await new Promise((resolve, reject) => {
        const work = async (agent) => {
          for (let results = []; ; ) {
            const it = await poll(agent, max, LONG_WAIT_MS, results);
            const now = nowMs();
            for (const run of it.runs) took.push(now - run.input_data.at);
            owed += it.runs.length - results.length;
            results = it.runs.map(resultOf);
            if (took.length >= count && owed === 0) return resolve();
          }
        };
        // Those that still wait at the end fail when they are closed.
        for (const agent of agents) work(agent).catch(reject);
        setTimeout(() => reject(new Error(`${took.length} of ${count} came in time`)), patienceMs).unref();
      });
      return took;
    },
    /** Every agent takes one task and is gone: it is not heard of again. */
    async die() {
      const take = async (agent) => {
        for (let runs = []; runs.length === 0; ) ({ runs } = await poll(agent, 1, LONG_WAIT_MS, []));
      };
      await Promise.all(agents.map(take));
      close();
    },
    /** How long a claim of one task takes, again and again; its result goes by itself and is not counted. */
    async claim({ count }) {
      const took = [];
      for (let n = 0; n < count; n += 1) {
        const began = nowMs();
        const { runs } = await poll(agents[0], 1, 0, []);
        took.push(nowMs() - began);
        if (runs.length !== 1) throw new Error('there was nothing to claim');
        await poll(agents[0], 0, 0, runs.map(resultOf));
      }
      return took;
    },
    /** Every agent beats once, as fast as that goes. */
    async beatOnce() {
      const began = nowMs();
      await Promise.all(agents.map(beat));
      return nowMs() - began;
    },
    /** Agents beat in turns at a pace; how long each beat took. */
    async beat({ count, perSecond }) {
      const took = [];
      const began = nowMs();
      await atPace(perSecond, count, async (n) => {
        const sent = nowMs();
        await beat(agents[n % agents.length]);
        took.push(nowMs() - sent);
      });
      return { ms: nowMs() - began, took };
    },
    /** Every agent polls and waits; how many still do when all have for a while. */
    async park({ settleMs }) {
      let waiting = 0;
      const wait = async (agent) => {
        agent.connection = await openConnection(agent.port);
        waiting += 1;
        poll(agent, 1, 60_000, [])
          .catch(() => {})
          .finally(() => {
            waiting -= 1;
          });
      };
      for (let n = 0; n < agents.length; n += PARKING_AT_ONCE) {
        // One that is turned away is one that does not wait.
        await Promise.allSettled(agents.slice(n, n + PARKING_AT_ONCE).map(wait));
        await pause(PARKING_MS);
      }
      await pause(settleMs);
      return waiting;
    },
    close: async () => close(),
  },
  async () => close(),
);
