import { createTask, getTask, listTasks } from '@muster/shared/contract/tasks';
import { startCoordinator, type TestCoordinator } from '@muster/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkProblem } from './fixtures/checked-client.ts';
import { type Network, networkAt } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

let coordinator: TestCoordinator;
let network: Network;
let agent: RawAgent;
beforeAll(async () => {
  coordinator = await startCoordinator();
  network = networkAt(coordinator.url, coordinator.adminKey);
  const enrollment_token = await network.enrol();
  agent = await RawAgent.register({ url: coordinator.url }, { enrollment_token, capabilities: ['work'], slots: 2 });
});
afterAll(() => coordinator.stop());

/** Bodies are text here: what JavaScript makes of them on the way out is not what is tested. */
const post = (path: string, body: string, credential = coordinator.adminKey) =>
  fetch(coordinator.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${credential}`, 'content-type': 'application/json' },
    body,
  });

async function expectNamed(response: Response, pointer: string) {
  const problem = await checkProblem(response);
  expect(problem).toMatchObject({ status: 422, code: 'validation-failed' });
  expect(new Set(problem.errors?.map((error) => error.pointer))).toEqual(new Set([pointer]));
}

describe('a time', () => {
  const submit = (field: string, at: string) =>
    post('/aitp/tasks', JSON.stringify({ task_type: 'dated', input_data: null, [field]: at }));

  describe.each(['run_at', 'expires_at'])('as %s', (field) => {
    test.each([
      '0000-01-01T00:00:00Z',
      '0001-01-01T00:00:00Z',
      '0001-01-01T00:00:00+14:00',
      '0050-01-01T00:00:00Z',
      '1969-12-31T23:59:59Z',
      '1970-01-01T00:00:00+02:00',
      '9999-12-31T23:59:59-14:00',
      '+275760-09-13T00:00:00Z',
      '275760-09-13T00:00:00Z',
      '2026-02-30T00:00:00Z',
      '2026-01-01T00:00:00+24:00',
    ])('that cannot be stored and shown, %s, is refused by name', async (at) => {
      await expectNamed(await submit(field, at), `#/${field}`);
    });
  });

  test.each([
    ['2026-01-01T00:00:00+02:00', '2025-12-31T22:00:00.000Z'],
    // More than Postgres would take.
    ['2026-01-01T00:00:00+23:59', '2025-12-31T00:01:00.000Z'],
    ['1970-01-01T00:00:00Z', '1970-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('%s is stored in UTC, and shown so: %s', async (at, utc) => {
    const { task_id } = await network.admin(createTask, {
      body: { task_type: 'dated', input_data: null, run_at: at, expires_at: '9999-12-31T00:00:00+01:00' },
    });
    expect(await network.task(task_id)).toMatchObject({ run_at: utc, expires_at: '9999-12-30T23:00:00.000Z' });
    const { data } = await network.admin(listTasks, { query: { task_type: 'dated', limit: 200 } });
    expect(data.find((task) => task.task_id === task_id)).toMatchObject({ run_at: utc });
  });
});

describe('deep JSON', () => {
  const nested = (levels: number) => `${'{"a":['.repeat(levels / 2)}${']}'.repeat(levels / 2)}`;
  const bodies = { input_data: '', metadata: '', result_data: '', checkpoint: '' };
  /** The request that sends a value as the field. */
  const send = async (field: keyof typeof bodies, json: string) => {
    if (field === 'input_data') return post('/aitp/tasks', `{"task_type":"deep","input_data":${json}}`);
    if (field === 'metadata')
      return post('/aitp/tasks', `{"task_type":"deep","input_data":1,"metadata":{"m":${json}}}`);
    await network.submit({ task_type: 'work', input_data: null });
    const { run_id, fence } = await agent.take();
    const [verb, rest] =
      field === 'result_data'
        ? ['result', `"outcome":"COMPLETED","result_data":${json}`]
        : ['progress', `"checkpoint":${json}`];
    const response = await post(`/aitp/runs/${run_id}/${verb}`, `{"fence":${fence},${rest}}`, agent.token);
    if (!response.ok || field === 'checkpoint') await agent.complete({ run_id, fence });
    return response;
  };

  test.each(Object.keys(bodies) as (keyof typeof bodies)[])(
    'as %s is refused by name, not an accident',
    async (field) => {
      for (const levels of [3_000, 400_000]) {
        const json = levels > 100_000 ? '['.repeat(levels) + ']'.repeat(levels) : nested(levels);
        await expectNamed(await send(field, json), `#/${field}`);
      }
    },
  );

  test('of two hundred levels passes, and comes back as it was', async () => {
    const deep = JSON.parse(nested(200));
    const task_id = await network.submit({ task_type: 'work', input_data: deep, metadata: { deep } });
    const run = await agent.take();
    expect(run.input_data).toEqual(deep);
    await agent.complete(run, deep);
    expect(await network.task(task_id)).toMatchObject({ input_data: deep, metadata: { deep }, result_data: deep });
  });
});

test('a key that JavaScript means something by comes back like any other', async () => {
  const odd = '{"__proto__":{"x":1},"a":1,"constructor":2,"toString":{"__proto__":[3]}}';
  const created = await post('/aitp/tasks', `{"task_type":"odd","input_data":${odd},"metadata":${odd}}`);
  expect(created.status).toBe(201);
  const { task_id } = (await created.json()) as { task_id: string };
  const shown = await fetch(coordinator.url + getTask.path.replace('{task_id}', task_id), {
    headers: { authorization: `Bearer ${coordinator.adminKey}` },
  });
  const task = (await shown.json()) as Record<string, unknown>;
  // Compared as sorted text, as `toEqual` may look the other way at `__proto__`.
  const sorted = (value: unknown): string =>
    typeof value === 'object' && value !== null
      ? `{${Object.entries(value)
          .map(([key, it]) => `${key}:${sorted(it)}`)
          .sort()}}`
      : JSON.stringify(value);
  for (const field of ['input_data', 'metadata']) expect(sorted(task[field])).toBe(sorted(JSON.parse(odd)));
});
