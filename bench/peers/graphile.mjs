// graphile-worker at its best documented settings (https://worker.graphile.org/docs/performance, and the best of those tried
// for a drain). It submits and executes in this one process, without HTTP, which is in its favour.
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import { cpuOf } from '../cpu.mjs';
import { atPace, inLanes, nowMs } from '../pace.mjs';
import { answer } from '../process.mjs';

/** A backlog: jobs come in batches and complete in batches. */
const FOR_DRAIN = {
  concurrentJobs: 100,
  maxPoolSize: 12,
  localQueue: { size: 2_000 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
/** One job after another: a local queue would only be in the way. */
const FOR_LATENCY = { concurrentJobs: 24, maxPoolSize: 25 };
const LOOK_MS = 2;

const logger = new Logger(() => () => {});
let connectionString;
let utils;
let looker;
let runner;
let done = 0;
let heard = () => {};

const taskList = {
  noop: (payload) => {
    done += 1;
    heard(payload);
  },
};

const start = async (worker) => {
  runner = await run({ preset: { worker: { connectionString, logger, ...worker } }, taskList, noHandleSignals: true });
};
const add = () => utils.addJob('noop', { at: nowMs() });

const addMany = (size) =>
  utils.addJobs(Array.from({ length: size }, () => ({ identifier: 'noop', payload: { at: nowMs() } })));

answer(
  {
    async open({ databaseUrl }) {
      connectionString = databaseUrl;
      utils = await makeWorkerUtils({ preset: { worker: { connectionString, logger, maxPoolSize: 16 } } });
      await utils.migrate();
      looker = new pg.Client({ connectionString, application_name: 'bench' });
      // Postgres goes first where the bench is cut short.
      looker.on('error', () => {});
      await looker.connect();
    },
    async fill({ count }) {
      for (let left = count; left > 0; left -= 5_000) await addMany(Math.min(left, 5_000));
    },
    /** From the start of the workers until every completion is committed. */
    async drain({ count }) {
      const began = nowMs();
      const until = done + count;
      await start(FOR_DRAIN);
      for (let left = true; left; ) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        if (done < until) continue;
        left = (await looker.query('select from graphile_worker._private_jobs limit 1')).rowCount > 0;
      }
      return nowMs() - began;
    },
    flood: ({ count, inFlight }) => inLanes(inFlight, count, add),
    bulk: ({ count, size, inFlight }) => inLanes(inFlight, count / size, () => addMany(size)),
    async trickle({ count, warmUp, perSecond }) {
      const took = [];
      const all = new Promise((resolve) => {
        heard = ({ at }) => {
          took.push(nowMs() - at);
          if (took.length === count + warmUp) resolve();
        };
      });
      await start(FOR_LATENCY);
      await atPace(perSecond, count + warmUp, add);
      await all;
      heard = () => {};
      return took.slice(warmUp);
    },
    empty: async () => void (await looker.query('truncate graphile_worker._private_jobs')),
    async rest() {
      await runner?.stop();
      runner = undefined;
    },
    cpu: async () => cpuOf(process.pid),
  },
  async () => {
    await runner?.stop();
    await Promise.all([utils?.release(), looker?.end()]);
  },
);
