import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSupervisor, startCoordinator } from '@muster/testing';
import { expect, test } from 'vitest';
import { beginSubmit } from './fixtures/slow-submit.ts';

const statusOf = async (url: string) => (await fetch(`${url}/readyz`)).status;

test('a coordinator that drains says so and still answers what it had begun', async () => {
  await using coordinator = await startCoordinator();
  const slow = await beginSubmit(coordinator, { task_type: 'work', input_data: 'begun before' });
  expect(await statusOf(coordinator.url)).toBe(200);
  const stopping = coordinator.stop();
  expect(await statusOf(coordinator.url)).toBe(503);
  expect((await slow.finish()).status).toBe(201);
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
