import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSupervisor, startCoordinator } from '@muster/testing';
import { expect, test } from 'vitest';

const statusOf = async (url: string) => (await fetch(`${url}/readyz`)).status;

test('a coordinator that drains says so and still answers what it had begun', async () => {
  await using coordinator = await startCoordinator();
  const body = JSON.stringify({ task_type: 'work', input_data: 'begun before' });
  const slow = request(`${coordinator.url}/aitp/tasks`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${coordinator.adminKey}`,
      'content-type': 'application/json',
      'content-length': body.length,
    },
  });
  const answered = once(slow, 'response');
  await new Promise<void>((resolve) => void slow.write(body.slice(0, 10), () => resolve()));
  expect(await statusOf(coordinator.url)).toBe(200);
  const stopping = coordinator.stop();
  expect(await statusOf(coordinator.url)).toBe(503);
  slow.end(body.slice(10));
  const [response] = await answered;
  expect(response.statusCode).toBe(201);
  response.resume();
  await stopping;
  await expect(fetch(`${coordinator.url}/readyz`)).rejects.toThrow();
});

test('the admin key is made once, kept for its owner alone, and shown once', async () => {
  const supervisor = createSupervisor();
  const folder = mkdtempSync(join(tmpdir(), 'muster-admin-key-'));
  try {
    const env = { MUSTER_ADMIN_KEY: '', MUSTER_DATA_DIR: folder };
    const first = await supervisor.coordinator({ env });
    const key = readFileSync(join(folder, 'admin-key'), 'utf8').trim();
    expect(statSync(join(folder, 'admin-key')).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'signing-key.json')).mode & 0o777).toBe(0o600);
    expect(first.tail()).toContain(key);
    await first.stop();
    const second = await supervisor.coordinator({ env });
    expect(second.tail()).not.toContain(key);
    const agents = await fetch(`${second.url}/ains/agents`, { headers: { 'x-api-key': key } });
    expect(agents.status).toBe(200);
  } finally {
    await supervisor.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
