// Who submits: a process of its own, over HTTP, as a program with an API key would.
import { atPace, inLanes, nowMs } from '../pace.mjs';
import { answer } from '../process.mjs';
import { openConnections } from './connection.mjs';

const TASKS = '/aitp/tasks';
/** Bulk submits go there once it is there. */
const BATCH = '/aitp/tasks/batch';

let connections;
let key;

const task = () => ({ task_type: 'noop', input_data: { at: nowMs() } });

answer(
  {
    async open(options) {
      connections?.close();
      key = options.key;
      connections = await openConnections(options.port, options.connections);
    },
    /** Single submits, so many in flight, as fast as they go; how long all took in milliseconds. */
    flood: ({ count, inFlight }) =>
      inLanes(inFlight, count, () => connections.post(TASKS, key, JSON.stringify(task()))),
    /** The same in batches of `size`. */
    bulk: ({ count, size, inFlight }) =>
      inLanes(inFlight, count / size, () =>
        connections.post(BATCH, key, JSON.stringify({ tasks: Array.from({ length: size }, task) })),
      ),
    /** Single submits at a pace, whether those before were answered or not. */
    async trickle({ count, perSecond }) {
      await atPace(perSecond, count, () => connections.post(TASKS, key, JSON.stringify(task())));
    },
  },
  async () => connections?.close(),
);
