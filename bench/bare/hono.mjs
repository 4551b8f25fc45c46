// What HTTP alone costs: hono on its Node adapter in the coordinator's place, with the same requests and answers and the queue
// in memory. No database, no authentication, no validation. The same loads talk to it.
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { cpuOf, residentMb } from '../cpu.mjs';
import { answer } from '../process.mjs';

const AN_AGENT = '01jd000000000000000000000';
const LEASE = '"lease_expires_at":"2030-01-01T00:00:00.000Z"';
const queue = [];
const parked = [];
let made = 0;

const runOf = (input_data) => {
  made += 1;
  return `{"run_id":"run_${String(made).padStart(13, '0')}","fence":${made},"task_id":"task_${AN_AGENT}","task_type":"noop","capability_required":"noop","attempt":1,"timeout_seconds":300,"input_data":${JSON.stringify(input_data)}}`;
};
const reply = (runs, results) =>
  new Response(
    `{"runs":[${runs.map(runOf).join()}],"results":${JSON.stringify(results.map(({ run_id }) => ({ run_id, applied: true })))},${LEASE}}`,
    { headers: { 'content-type': 'application/json' } },
  );

const app = new Hono();
app.post('/ains/agents/:agent_id/poll', async (c) => {
  const { slots, wait_ms, results } = await c.req.json();
  const runs = queue.splice(0, slots);
  if (runs.length > 0 || results.length > 0 || wait_ms === 0) return reply(runs, results);
  return new Promise((resolve) => {
    const poll = (more) => {
      clearTimeout(timer);
      resolve(reply(more, []));
    };
    const timer = setTimeout(() => poll(parked.splice(parked.indexOf(poll), 1) && []), wait_ms);
    parked.push(poll);
  });
});
app.post('/ains/agents/:agent_id/heartbeat', async (c) => {
  const { runs } = await c.req.json();
  const times = { server_time: new Date().toISOString(), heartbeat_interval_ms: 10_000 };
  return c.json({ acknowledged: true, ...times, lost: runs, cancel: [], drain: false });
});
app.post('/aitp/tasks', async (c) => {
  const { task_type, input_data } = await c.req.json();
  const poll = parked.shift();
  if (poll) poll([input_data]);
  else queue.push(input_data);
  return c.json(
    { task_id: `task_${AN_AGENT}`, status: 'PENDING', task_type, created_at: new Date().toISOString() },
    201,
  );
});

const listening = new Promise((resolve) => {
  serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => resolve(port));
});
answer({
  port: () => listening,
  fill: async ({ count }) => {
    for (let n = 0; n < count; n += 1) queue.push({ at: 0 });
  },
  empty: async () => queue.splice(0).length,
  /** Lets go of the polls of agents that are gone: nothing here looks whether they are. */
  forget: async () => {
    for (const poll of parked.splice(0)) poll([]);
  },
  cpu: async () => cpuOf(process.pid),
  residentMb: async () => residentMb(process.pid),
});
