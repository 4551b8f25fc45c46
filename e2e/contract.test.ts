import type { Endpoint } from '@muster/shared/contract/endpoint';
import {
  access,
  agents,
  audit,
  batches,
  bulk,
  dispatch,
  ENDPOINTS,
  enrollment,
  ops,
  queue,
  routing,
  runs,
  scheduleOperations,
  schedules,
  tasks,
  trust,
} from '@muster/shared/contract/index';
import { newId } from '@muster/shared/ids';
import { expect, test } from 'vitest';
import { networkAt, startNetwork } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

/** Notes what was called with success: `checkedClient` fails where the answer is not what the contract says. */
const note =
  (client: RawAgent['call'], called: Set<Endpoint>): RawAgent['call'] =>
  async (endpoint, call, options) => {
    const answer = await client(endpoint, call, options);
    called.add(endpoint);
    return answer;
  };

test('every endpoint answers success exactly as its contract says, empty and full', async () => {
  const network = await startNetwork();
  const agent = new RawAgent({ url: network.url });
  const called = new Set<Endpoint>();
  const admin = note(network.admin, called);
  Object.assign(agent, { call: note(agent.call, called) });
  await readEverything(admin, {});

  const { api_key_id } = await admin(access.createApiKey, {
    body: {
      name: 'é☃',
      scopes: ['tasks:read'],
      allowed_addresses: ['10.0.0.0/8', '::1'],
      expires_at: '2099-01-01T00:00:00Z',
    },
  });
  await readEverything(admin, { api_key_id });
  await admin(access.updateApiKey, { params: { api_key_id }, body: { allowed_addresses: null, expires_at: null } });
  await admin(access.rotateApiKey, { params: { api_key_id } });
  await admin(access.revokeApiKey, { params: { api_key_id } });
  await network.coordinator.tick();
  await readEverything(admin, { api_key_id });

  const token = await admin(enrollment.createEnrollmentToken, {
    body: { max_uses: 2, capabilities: ['work', 'other:v1'], serves: 'all' },
  });
  await agent.register({ enrollment_token: token.enrollment_token, capabilities: ['work'], slots: 3 });
  const agent_id = agent.agentId;
  await agent.assert();
  await agent.beat({ status: 'DEGRADED', uptime_ms: 5, metrics: { load: 0.5 } });
  await agent.call(agents.updateAgent, {
    params: { agent_id },
    body: { display_name: 'é☃', labels: { zone: 'a/b' }, slots: 2 },
  });
  await agent.call(agents.putCapabilities, { params: { agent_id }, body: { capabilities: ['work', 'other:v1'] } });
  await admin(trust.adjustTrust, { params: { agent_id }, body: { capability: 'other', delta: -0.25, reason: 'é☃' } });
  await admin(trust.adjustTrust, {
    params: { agent_id },
    body: { capability: 'other', standing: 'TRUSTED', reason: 'é☃' },
  });
  for (const verb of [trust.quarantineAgent, trust.banAgent] as const) {
    await admin(verb as typeof trust.banAgent, { params: { agent_id }, body: { capability: 'other', reason: 'é☃' } });
    await readEverything(admin, { agent_id });
  }
  await admin(trust.releaseAgent, { params: { agent_id }, body: { reason: 'é☃' } });
  for (const verb of [agents.cordonAgent, agents.uncordonAgent, agents.drainAgent, agents.uncordonAgent])
    await admin(verb, { params: { agent_id } });

  const body = {
    task_type: 'work',
    input_data: { text: 'é☃', deep: [{ list: [1, 2.5, null, true] }] },
    client_id: 'client',
    tags: ['a', 'b c'],
    metadata: { why: ['not'] },
    expires_at: '2099-01-01T00:00:00Z',
  };
  const done = await admin(tasks.createTask, { body });
  const run = await agent.take();
  expect(run.input_data).toEqual(body.input_data);
  await agent.start(run);
  await agent.call(dispatch.progressRun, {
    params: { run_id: run.run_id },
    body: { fence: run.fence, percent: 50, message: 'half', checkpoint: { at: 5 } },
  });
  await readEverything(admin, { agent_id, task_id: done.task_id, run_id: run.run_id });
  await agent.complete(run, { answer: 42 });

  const failing = await admin(tasks.createTask, { body: { ...body, max_retries: 0 } });
  const failed = await agent.take();
  await agent.fail(failed, { message: 'no', code: 'no', fault: 'agent', retryable: false });
  await readEverything(admin, { agent_id, task_id: failing.task_id, run_id: failed.run_id });
  for (const capability of ['work', 'other:v1']) {
    await admin(queue.pauseCapability, { params: { capability } });
    await readEverything(admin, { agent_id, task_id: failing.task_id });
    await admin(queue.resumeCapability, { params: { capability } });
  }
  for (const [scope, name, body] of [
    ['global', '*', { max_running: 100_000 }],
    ['owner', 'admin', { max_running: 1_000, weight: 3 }],
    ['capability', 'work', { starts_per_second: 0.5, max_running: 5 }],
  ] as const) {
    await admin(queue.putLimit, { params: { scope, name }, body });
    await readEverything(admin, { agent_id, task_id: failing.task_id });
    await admin(queue.deleteLimit, { params: { scope, name } });
  }
  expect(await admin(queue.retryDeadLetters, { body: { error_code: 'other' } })).toEqual({ matched: 0, retried: 0 });
  await admin(tasks.retryTask, { params: { task_id: failing.task_id } });
  await admin(queue.prioritiseTask, { params: { task_id: failing.task_id }, body: { priority: 9 } });
  await admin(tasks.cancelTask, { params: { task_id: failing.task_id }, body: { reason: 'enough' } });
  const { batch_id } = await admin(batches.createBatch, {
    body: { tasks: [body, { ...body, priority: 0 }], atomic: false },
  });
  await readEverything(admin, { batch_id });
  const chosen = { batch_id, from: '2020-01-01T00:00:00Z', metadata: 'why=no' };
  for (const dry_run of ['true', 'false']) {
    await admin(bulk.prioritiseTasks, { body: { batch_id, priority: 9 }, query: { dry_run } });
    await admin(bulk.cancelBatch, { params: { batch_id }, query: { dry_run } });
    await admin(bulk.retryTasks, { body: { batch_id }, query: { dry_run } });
    expect(await admin(bulk.cancelTasks, { body: chosen, query: { dry_run } })).toMatchObject({ matched: 0 });
  }
  await readEverything(admin, { batch_id });
  await admin(bulk.cancelBatch, { params: { batch_id } });
  await admin(runs.deleteRun, { params: { run_id: failed.run_id } });
  await admin(runs.cleanupRuns, { body: { older_than_days: 1, dry_run: true } });
  await admin(tasks.createTask, { body: { ...body, run_at: '2099-01-01T00:00:00Z' } });

  const { schedule_id } = await admin(schedules.createSchedule, {
    body: {
      task_type: 'work',
      input_data: null,
      cron_expression: '0 0 * * *',
      description: 'daily',
      timezone: 'Europe/Berlin',
    },
  });
  for (const [cron_expression, valid] of [
    ['*/5 * * * *', true],
    ['nonsense', false],
    ['0 0 31 2 *', false],
  ] as const)
    expect(await admin(schedules.validateSchedule, { body: { cron_expression } })).toMatchObject({ valid });
  await admin(schedules.pauseSchedule, { params: { schedule_id }, body: { note: 'later' } });
  await admin(schedules.resumeSchedule, { params: { schedule_id } });
  const rule = { task_type: 'work', input_data: null, name: 'é☃', tags: ['é'], interval_seconds: 3_600 };
  const update = { params: { schedule_id }, body: { ...rule, exclude: [{ weekdays: ['SAT' as const] }] } };
  expect(
    (await admin(scheduleOperations.updateSchedule, { ...update, query: { dry_run: 'true' } })).next_runs,
  ).toHaveLength(10);
  await admin(scheduleOperations.updateSchedule, update);
  await admin(scheduleOperations.triggerSchedule, { params: { schedule_id } });
  for (const overlap of ['BUFFER_ALL', 'ALLOW_ALL'] as const)
    await admin(scheduleOperations.backfillSchedule, {
      params: { schedule_id },
      body: {
        from: new Date(Date.now() - 4 * 3_600_000).toISOString(),
        to: new Date(Date.now() - 60_000).toISOString(),
        overlap,
      },
    });
  for (const verb of [scheduleOperations.pauseSchedules, scheduleOperations.resumeSchedules])
    for (const dry_run of ['true', 'false'] as const)
      expect(await admin(verb, { query: { dry_run }, body: { tag: 'é' } })).toMatchObject({ matched: 1 });
  const file = await admin(scheduleOperations.exportSchedules, {});
  for (const schedules of [[...file.schedules, { ...rule, name: 'other' }], file.schedules])
    await admin(scheduleOperations.importSchedules, { body: { schedules: schedules as never } });
  await network.clock.advance('25h');
  await readEverything(admin, {
    agent_id,
    task_id: failing.task_id,
    schedule_id,
    enrollment_token_id: token.enrollment_token_id,
  });
  await admin(schedules.deleteSchedule, { params: { schedule_id } });
  await admin(enrollment.revokeEnrollmentToken, { params: { enrollment_token_id: token.enrollment_token_id } });
  const again = new RawAgent({ url: network.url, now: () => network.clock.now() });
  const fresh = await network.enrol();
  await again.register({ enrollment_token: fresh, capabilities: ['work'] });
  Object.assign(again, { call: note(again.call, called) });
  await again.assert(newId('boot'));
  await again.rotate();
  await again.leave();
  for (const dry_run of ['true', 'false'] as const)
    await admin(trust.replayTrust, { params: { agent_id }, query: { dry_run } });
  await admin(agents.deleteAgent, { params: { agent_id } });
  await readEverything(admin, { agent_id, schedule_id, enrollment_token_id: token.enrollment_token_id });

  const names = (of: Iterable<Endpoint>) => {
    const those = new Set(of);
    return Object.keys(ENDPOINTS).filter((name) => those.has(ENDPOINTS[name]!));
  };
  expect(names(called)).toEqual(Object.keys(ENDPOINTS));
}, 90_000);

/** All that can be read, of nothing in particular and of these. */
async function readEverything(
  admin: RawAgent['call'],
  ids: Partial<
    Record<
      'agent_id' | 'batch_id' | 'task_id' | 'run_id' | 'schedule_id' | 'enrollment_token_id' | 'api_key_id',
      string
    >
  >,
): Promise<void> {
  for (const endpoint of [ops.livez, ops.readyz, ops.jwks, ops.openapi]) await admin(endpoint, {});
  for (const endpoint of [
    access.listApiKeys,
    audit.listAuditLogs,
    audit.verifyAuditLogs,
    agents.listAgents,
    agents.searchAgents,
    enrollment.listEnrollmentTokens,
    tasks.listTasks,
    runs.listRuns,
    runs.exportRuns,
    queue.getQueueStats,
    queue.listQueueCapabilities,
    queue.listLimits,
    queue.listDeadLetters,
    routing.listStrategies,
    schedules.listSchedules,
    scheduleOperations.listCalendar,
    trust.getLeaderboard,
  ])
    await admin(endpoint, {});
  await admin(routing.previewRouting, { body: { task_type: 'work' } });
  const { agent_id, batch_id, task_id, run_id, schedule_id, enrollment_token_id, api_key_id } = ids;
  if (api_key_id) await admin(access.getApiKey, { params: { api_key_id } });
  if (agent_id) {
    for (const endpoint of [
      agents.getAgent,
      agents.getCapabilities,
      trust.getTrust,
      trust.getTrustHistory,
      queue.getWorkload,
    ])
      await admin(endpoint, { params: { agent_id } });
  }
  if (batch_id)
    for (const endpoint of [batches.getBatch, batches.listBatchResults])
      await admin(endpoint, { params: { batch_id } });
  if (run_id) await admin(runs.getRun, { params: { run_id } });
  if (task_id)
    for (const endpoint of [tasks.getTask, queue.explainTask]) await admin(endpoint, { params: { task_id } });
  if (schedule_id) {
    for (const endpoint of [schedules.getSchedule, schedules.listExecutions, scheduleOperations.previewSchedule])
      await admin(endpoint, { params: { schedule_id } });
  }
  if (enrollment_token_id) await admin(enrollment.getEnrollmentToken, { params: { enrollment_token_id } });
}

test('a list is the same by pages of any size as at once, newest first', async () => {
  const network = await startNetwork();
  const { admin } = networkAt(network.url, network.adminKey);
  const ids: string[] = [];
  for (let n = 0; n < 7; n += 1)
    ids.unshift(await network.submit({ task_type: n % 2 ? 'odd' : 'even', input_data: n }));
  for (const limit of [1, 2, 3, 7, 200]) {
    const seen: string[] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await admin(tasks.listTasks, { query: { limit, ...(cursor ? { cursor } : {}) } });
      seen.push(...page.data.map(({ task_id }) => task_id));
      cursor = page.next_cursor;
    }
    expect(seen, `limit ${limit}`).toEqual(ids);
  }
  const odd = await admin(tasks.listTasks, { query: { task_type: 'odd' } });
  expect(odd.data).toHaveLength(3);
});
