import { createTask, listTasks } from '@muster/shared/contract/tasks';
import type { ProblemError } from '@muster/shared/errors';
import { expect, test } from 'vitest';
import { checkProblem } from './fixtures/checked-client.ts';
import { startNetwork, type TestNetwork } from './fixtures/network.ts';

/** A call whose body is text, because `JSON.stringify` would run out of stack itself. */
async function post(
  network: TestNetwork,
  path: string,
  body: string,
  credential = network.adminKey,
): Promise<Response> {
  const headers = { authorization: `Bearer ${credential}`, 'content-type': 'application/json' };
  return fetch(network.url + path, { method: 'POST', headers, body });
}
const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

// There is no year 0 in Postgres; the edge knows that too.
test('bad rows among fifty that arrive together fail their own callers and nobody else', async () => {
  const network = await startNetwork();
  const submit = (n: number) =>
    network.admin(createTask, {
      body: { task_type: 'work', input_data: { n }, ...(n % 10 === 3 ? { run_at: '0000-01-01T00:00:00Z' } : {}) },
    });
  const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, n) => submit(n)));
  const failed = outcomes.flatMap((outcome, n) =>
    outcome.status === 'rejected' ? [[n, outcome.reason as ProblemError] as const] : [],
  );
  expect(failed.map(([n]) => n)).toEqual([3, 13, 23, 33, 43]);
  for (const [, problem] of failed) expect(problem).toMatchObject({ code: 'validation-failed', status: 422 });
  const { data } = await network.admin(listTasks, { query: { limit: 200 } });
  expect(data).toHaveLength(45);
});

test('a value nested deeper than anybody needs is refused by name, and nobody else’s of the batch is', async () => {
  const network = await startNetwork();
  for (const depth of [200, 250, 300, 1_000, 6_000, 50_000, 400_000]) {
    const [deep, ...others] = await Promise.all(
      [nested(depth), '"a"', '"b"', '"c"'].map((data) =>
        post(network, '/aitp/tasks', `{"task_type":"work","input_data":${data}}`),
      ),
    );
    expect(
      others.map(({ status }) => status),
      `beside depth ${depth}`,
    ).toEqual([201, 201, 201]);
    if (depth <= 250) expect(deep!.status, `depth ${depth}`).toBe(201);
    else {
      const { code, errors } = await checkProblem(deep!);
      expect([code, errors?.map(({ pointer }) => pointer)], `depth ${depth}`).toEqual([
        'validation-failed',
        ['#/input_data'],
      ]);
    }
  }
});

test('a NUL is found however deep it is', async () => {
  const network = await startNetwork();
  for (const depth of [1, 100, 250]) {
    const data = `${'['.repeat(depth)}"\\u0000"${']'.repeat(depth)}`;
    const problem = await checkProblem(await post(network, '/aitp/tasks', `{"task_type":"work","input_data":${data}}`));
    expect(problem).toMatchObject({
      code: 'validation-failed',
      errors: [{ pointer: `#/input_data${'/0'.repeat(depth)}` }],
    });
  }
});

test('a result that cannot be taken fails its own agent and nobody else, and can be reported better', async () => {
  const network = await startNetwork();
  const agents = await Promise.all([1, 2, 3].map(() => network.rawAgent()));
  for (const n of [1, 2, 3]) await network.submit({ task_type: 'work', input_data: n });
  const runs = await Promise.all(agents.map((agent) => agent.take()));
  const statuses = await Promise.all(
    agents.map(async ({ token }, n) => {
      const { run_id, fence } = runs[n]!;
      const body = `{"fence":${fence},"outcome":"COMPLETED","result_data":${n === 1 ? nested(20_000) : n}}`;
      return (await post(network, `/aitp/runs/${run_id}/result`, body, token)).status;
    }),
  );
  expect(statuses).toEqual([200, 422, 200]);
  expect(await agents[1]!.complete(runs[1]!)).toEqual({ applied: true, task_status: 'COMPLETED' });
});
