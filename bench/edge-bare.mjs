// The baselines of `bench/edge.mjs`: hono on its Node adapter with nothing around it, and with the body's schema.
// Started by it with IPC; says where it listens, and its CPU time when asked.
import { serve } from '@hono/node-server';
import { createTask } from '@muster/shared/contract/tasks';
import { Hono } from 'hono';

const app = new Hono();
app.post('/bench', async (c) => {
  const body = await c.req.json();
  return c.json({ ok: true, n: body.priority });
});
app.post('/bench-zod', async (c) => {
  const { data } = createTask.body.safeParse(await c.req.json());
  return c.json({ ok: true, n: data.priority });
});

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => process.send({ port }));
process.on('message', () => process.send({ cpu: process.cpuUsage() }));
process.on('disconnect', () => process.exit());
