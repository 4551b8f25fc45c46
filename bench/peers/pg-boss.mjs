// pg-boss at its best documented settings: batches with burst for a backlog, LISTEN/NOTIFY where latency counts. It submits and
// executes in this one process, without HTTP, which is in its favour.
import pg from 'pg';
import { PgBoss } from 'pg-boss';
import { cpuOf } from '../cpu.mjs';
import { atPace, inLanes, nowMs } from '../pace.mjs';
import { answer } from '../process.mjs';

const QUEUE = 'noop';
const FOR_DRAIN = { batchSize: 500, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
/** Every worker wakes for every NOTIFY, so a few are better than many; with one job a batch there would be no burst to catch up. */
const FOR_LATENCY = {
  batchSize: 10,
  localConcurrency: 4,
  burstWhenBatchFull: true,
  pollingIntervalSeconds: 0.5,
  notifyPollingIntervalSeconds: 0.5,
};
const LOOK_MS = 2;

let boss;
let looker;
let done = 0;
let heard = () => {};

const start = (options) =>
  boss.work(QUEUE, options, async (jobs) => {
    done += jobs.length;
    for (const { data } of jobs) heard(data);
  });
const send = () => boss.send(QUEUE, { at: nowMs() });
const insert = (size) =>
  boss.insert(
    QUEUE,
    Array.from({ length: size }, () => ({ data: { at: nowMs() } })),
  );

answer(
  {
    async open({ databaseUrl }) {
      boss = new PgBoss({ connectionString: databaseUrl, max: 16, useListenNotify: true });
      boss.on('error', (error) => console.error(error));
      await boss.start();
      await boss.createQueue(QUEUE, { notify: true });
      looker = new pg.Client({ connectionString: databaseUrl, application_name: 'bench' });
      // Postgres goes first where the bench is cut short.
      looker.on('error', () => {});
      await looker.connect();
    },
    async fill({ count }) {
      for (let left = count; left > 0; left -= 5_000) await insert(Math.min(left, 5_000));
    },
    /** From the start of the workers until every completion is committed. */
    async drain({ count }) {
      const began = nowMs();
      const until = done + count;
      await start(FOR_DRAIN);
      for (let left = true; left; ) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        if (done < until) continue;
        left =
          (await looker.query(`select from pgboss.job where name = $1 and state < 'completed' limit 1`, [QUEUE]))
            .rowCount > 0;
      }
      return nowMs() - began;
    },
    flood: ({ count, inFlight }) => inLanes(inFlight, count, send),
    bulk: ({ count, size, inFlight }) => inLanes(inFlight, count / size, () => insert(size)),
    async trickle({ count, warmUp, perSecond }) {
      const took = [];
      const all = new Promise((resolve) => {
        heard = ({ at }) => {
          took.push(nowMs() - at);
          if (took.length === count + warmUp) resolve();
        };
      });
      await start(FOR_LATENCY);
      await atPace(perSecond, count + warmUp, send);
      await all;
      heard = () => {};
      return took.slice(warmUp);
    },
    empty: async () => void (await boss.deleteAllJobs(QUEUE)),
    rest: () => boss.offWork(QUEUE),
    cpu: async () => cpuOf(process.pid),
  },
  async () => {
    await boss?.stop({ graceful: false });
    await looker?.end();
  },
);
