import * as access from '@muster/shared/contract/access';
import * as agents from '@muster/shared/contract/agents';
import { listAuditLogs, verifyAuditLogs } from '@muster/shared/contract/audit';
import * as bulk from '@muster/shared/contract/bulk';
import { leave } from '@muster/shared/contract/dispatch';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import * as enrollment from '@muster/shared/contract/enrollment';
import { ENDPOINTS } from '@muster/shared/contract/index';
import * as queue from '@muster/shared/contract/queue';
import * as runs from '@muster/shared/contract/runs';
import * as operations from '@muster/shared/contract/schedule-operations';
import * as schedules from '@muster/shared/contract/schedules';
import * as tasks from '@muster/shared/contract/tasks';
import * as trust from '@muster/shared/contract/trust';
import { eventually } from '@muster/testing';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';

interface Step {
  endpoint: Endpoint;
  /** What is asked, by the ids of what earlier steps made. */
  ask(ids: Record<string, string>): { params?: Record<string, string>; body?: unknown };
  subject: string;
}

const step = (endpoint: Endpoint, subject: string, body?: unknown): Step => ({
  endpoint,
  ask: (ids) => ({
    ...(endpoint.params ? { params: { [subject]: ids[subject]! } } : {}),
    ...(body === undefined ? {} : { body }),
  }),
  subject,
});

/** Every verb that is audited, in an order in which each changes something. */
const STEPS: Step[] = [
  step(access.createApiKey, 'api_key_id', { name: 'made', scopes: ['tasks:read'] }),
  step(access.updateApiKey, 'api_key_id', { name: 'renamed' }),
  step(access.rotateApiKey, 'api_key_id'),
  step(access.revokeApiKey, 'api_key_id'),
  step(enrollment.createEnrollmentToken, 'enrollment_token_id', { max_uses: 3 }),
  step(enrollment.revokeEnrollmentToken, 'enrollment_token_id'),
  step(agents.updateAgent, 'agent_id', { slots: 7 }),
  step(agents.putCapabilities, 'agent_id', { capabilities: ['work', 'more'] }),
  step(trust.adjustTrust, 'agent_id', { capability: 'work', delta: 0.1, reason: 'well known' }),
  step(trust.quarantineAgent, 'agent_id', { reason: 'copied' }),
  step(trust.banAgent, 'agent_id', { reason: 'copied again' }),
  step(trust.releaseAgent, 'agent_id', { reason: 'by mistake' }),
  step(agents.cordonAgent, 'agent_id'),
  step(agents.uncordonAgent, 'agent_id'),
  step(agents.drainAgent, 'agent_id'),
  step(agents.deleteAgent, 'agent_id'),
  step(schedules.createSchedule, 'schedule_id', {
    task_type: 'work',
    cron_expression: '0 0 * * *',
    input_data: 'secret-input',
  }),
  step(schedules.pauseSchedule, 'schedule_id', { note: 'for now' }),
  step(schedules.resumeSchedule, 'schedule_id'),
  step(operations.updateSchedule, 'schedule_id', {
    name: 'hourly',
    tags: ['audited'],
    task_type: 'work',
    interval_seconds: 3_600,
    input_data: 'secret-input',
  }),
  step(operations.triggerSchedule, 'schedule_id'),
  step(operations.backfillSchedule, 'schedule_id', {
    from: new Date(Date.now() - 3 * 3_600_000).toISOString(),
    to: new Date(Date.now() - 60_000).toISOString(),
  }),
  step(operations.pauseSchedules, 'schedule_id', { tag: 'audited' }),
  step(operations.resumeSchedules, 'schedule_id', { tag: 'audited' }),
  step(operations.importSchedules, 'schedule_id', {
    schedules: [{ name: 'hourly', task_type: 'work', interval_seconds: 60, input_data: 'secret-input' }],
  }),
  step(schedules.deleteSchedule, 'schedule_id'),
  step(queue.prioritiseTask, 'task_id', { priority: 9 }),
  step(tasks.cancelTask, 'task_id', { reason: 'enough' }),
  step(tasks.retryTask, 'task_id'),
];

/** What leaves its rows by the thing and not by the request has tests of its own: e2e/queue, limits, bulk, dead-letters, runs, trust. */
const BY_THE_THING = [
  queue.pauseCapability,
  queue.resumeCapability,
  queue.putLimit,
  queue.deleteLimit,
  bulk.cancelTasks,
  bulk.retryTasks,
  bulk.prioritiseTasks,
  bulk.cancelBatch,
  queue.retryDeadLetters,
  runs.deleteRun,
  runs.cleanupRuns,
  trust.replayTrust,
];

const rowsOf = async ({ sql }: TestNetwork) => (await sql`select count(*)::int as n from audit_logs`)[0]!.n as number;

test('every audited verb of the contract has its step here', () => {
  const audited = Object.values(ENDPOINTS).filter((endpoint) => endpoint.audit);
  const tried = [...STEPS.map((it) => it.endpoint), ...BY_THE_THING];
  expect(tried.map((it) => it.path).sort()).toEqual(audited.map((it) => it.path).sort());
});

test('every audited verb by a key leaves one row that names who, from where, what before and after', async () => {
  const network = await startNetwork();
  const key = await makeKey(network, { scopes: ['admin'], name: 'auditor' });
  const agent = await network.rawAgent();
  const ids: Record<string, string> = {
    agent_id: agent.agentId,
    task_id: await network.submit({ task_type: 'other', input_data: 'secret-input' }),
  };
  const secrets = ['secret-input', key.api_key, agent.token];
  for (const [n, { endpoint, ask, subject }] of STEPS.entries()) {
    const before = await rowsOf(network);
    const headers = { 'x-request-id': `audited-${n}` };
    const answer = (await key.call(endpoint, ask(ids) as never, { headers })) as Record<string, string>;
    ids[subject] ??= answer[subject]!;
    secrets.push(...['api_key', 'enrollment_token'].flatMap((name) => answer[name] ?? []));
    const { data } = await key.call(listAuditLogs, { query: { subject_id: ids[subject]! } });
    expect(await rowsOf(network), endpoint.audit).toBe(before + 1);
    expect(data[0]).toMatchObject({
      action: endpoint.audit,
      actor: key.api_key_id,
      address: '127.0.0.1',
      request_id: `audited-${n}`,
      owner: 'admin',
      subject_id: ids[subject],
    });
    const { before: was, after: is } = data[0]!;
    if (endpoint.status === 201) expect(was, endpoint.audit).toBeNull();
    else expect(was, endpoint.audit).toEqual(expect.any(Object));
    expect(is, endpoint.audit).toEqual(expect.any(Object));
    // What a rotation changes is secret.
    if (endpoint !== access.rotateApiKey) expect(is, endpoint.audit).not.toEqual(was);
  }
  const told = JSON.stringify(await network.sql`select * from audit_logs`);
  for (const secret of secrets) expect(told).not.toContain(secret);
  const verdict = await eventually(async () => {
    const it = await key.call(verifyAuditLogs, {});
    return it.unsealed === 0 && it;
  });
  expect(verdict).toMatchObject({ valid: true, rows: await rowsOf(network), problems: [] });
  const { seal, hash } = verdict.head!;
  expect(await key.call(verifyAuditLogs, { query: { seal, hash } })).toMatchObject({ valid: true });
  await expect(key.call(verifyAuditLogs, { query: { seal } })).rejects.toMatchObject({ code: 'validation-failed' });
}, 90_000);

test('what is refused, what changes nothing, and what agents do themselves leave none', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent({ slots: 2 });
  const done = await network.submit({ task_type: 'work', input_data: 1 });
  const gone = await network.submit({ task_type: 'other', input_data: 1 });
  const { admin } = network;
  const schedule = await admin(schedules.createSchedule, {
    body: { task_type: 'work', cron_expression: '0 0 * * *', input_data: 1 },
  });
  await network.cancel(gone);
  const before = await rowsOf(network);

  await agent.assert();
  await agent.beat();
  const run = await agent.take();
  await agent.start(run);
  await agent.complete(run);
  const params = { agent_id: agent.agentId };
  await agent.call(agents.updateAgent, { params, body: { display_name: 'itself' } });
  await agent.call(agents.putCapabilities, { params, body: { capabilities: ['work', 'more'] } });
  await agent.call(leave, { params, body: { boot_id: agent.bootId } });

  const task = { params: { task_id: gone } };
  await expect(admin(tasks.cancelTask, task)).rejects.toMatchObject({ code: 'task-terminal' });
  await expect(admin(tasks.retryTask, { params: { task_id: done } })).rejects.toMatchObject({ code: 'conflict' });
  await admin(schedules.resumeSchedule, { params: { schedule_id: schedule.schedule_id } });
  await admin(agents.uncordonAgent, { params });
  const reader = await makeKey(network, { scopes: ['tasks:read'] });
  await expect(reader.call(tasks.retryTask, task)).rejects.toMatchObject({ code: 'insufficient-scope' });
  // The reader's key itself.
  expect(await rowsOf(network)).toBe(before + 1);
});

test('a key sees the rows of its owner only, and the chain is for admins', async () => {
  const network = await startNetwork();
  const acme = await makeKey(network, { scopes: ['audit:read', 'tasks:write'], owner: 'acme' });
  const { task_id } = await acme.call(tasks.createTask, { body: { task_type: 'work', input_data: 1 } });
  await acme.call(tasks.cancelTask, { params: { task_id } });
  await network.cancel(await network.submit({ task_type: 'work', input_data: 1 }));
  const seen = async (query = {}) =>
    (await acme.call(listAuditLogs, { query })).data.map(({ action, owner }) => ({ action, owner }));
  // The key is its owner's, whoever made it.
  expect(await seen()).toEqual([
    { action: 'task.cancel', owner: 'acme' },
    { action: 'api_key.create', owner: 'acme' },
  ]);
  expect(await seen({ owner: 'admin' })).toEqual([]);
  expect((await network.admin(listAuditLogs, { query: { owner: 'acme' } })).data).toHaveLength(2);
  await expect(acme.call(verifyAuditLogs, {})).rejects.toMatchObject({ code: 'insufficient-scope' });
});
