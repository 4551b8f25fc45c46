import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from '@muster/shared/client';
import { createTask } from '@muster/shared/contract/tasks';
import type { CoordinatorProcess } from '@muster/testing';
import { History } from '@muster/testing';
import { assertFindings, checkResults, checkSubmits } from '@muster/testing/checkers';
import { checkAnswers } from '@muster/testing/checkers/answers';
import { checkReruns } from '@muster/testing/checkers/order';
import { expect, onTestFinished, test } from 'vitest';
import { beginSubmit } from '../fixtures/slow-submit.ts';
import { SCALE, TIMEOUT_MS } from '../proof/scale.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { workAll } from './workers.ts';

/** A fiftieth of what is promised, unless said, but each coordinator once. */
const RESTARTS = Math.max(2, Math.round(0.4 * SCALE));
/** What is lost is done again at once: by its attempts it is seen. */
const work = {
  task_type: 'work',
  tags: ['I19'],
  max_retries: 3,
  retry_policy: 'fixed' as const,
  retry_base_ms: 10,
};
/** What a coordinator has begun to answer when it is told to end. */
const BEGUN = [1, 2, 3, 4];
/** How long a drained coordinator may take to be gone, in milliseconds. */
const GONE_MS = 10_000;
/** And until it says so, on a machine that is busy with all the rest of it; 100 on a quiet one. */
const UNREADY_MS = 2_000;

test(
  `I19: two coordinators are restarted in turns, ${RESTARTS} times, under load: no caller is turned away, and no lease is lost`,
  async () => {
    const cluster = await startCluster(2);
    onTestFinished(() => cluster.stop());
    const failures: string[] = [];
    const either = withEither(cluster, failures);
    const admin = either.client(cluster.adminKey);
    const history = new History();
    let over = false;
    let done = 0;
    let left = () => 1;
    const submitting = async (lane: number) => {
      for (let n = 0; !over; n += 1) {
        const headers = { 'idempotency-key': `I19-${lane}-${n}` };
        const body = { ...work, input_data: n };
        await history.call(`driver-${lane}`, 'submit', {}, () => admin(createTask, { body }, { headers }));
        await pause(20);
      }
    };
    /** What only the one that is told to end can answer: submits of which half is there. The returned function says the rest. */
    const begin = async ({ url }: CoordinatorProcess) => {
      const body = { ...work, input_data: 'begun before' };
      const submits = await Promise.all(BEGUN.map(() => beginSubmit({ url, adminKey: cluster.adminKey }, body)));
      return () => Promise.all(submits.map((it, n) => history.call(`slow-${n}`, 'submit', {}, () => it.finish())));
    };
    const restarting = async () => {
      for (let n = 0; n < RESTARTS; n += 1) {
        const before = done;
        const coordinator = cluster.coordinators[n % 2]!;
        await restart(coordinator, await begin(coordinator));
        while (done === before) await pause(20);
      }
    };
    const load = Promise.all([0, 1].map(submitting)).finally(() => {
      // What was submitted last is done too.
      left = () => submitted(history) - done;
    });
    const act = () => {
      done += 1;
      // Held for longer than it takes to be handed out, so that there are always some.
      return { ending: { outcome: 'COMPLETED' as const }, times: 1, takesMs: 300 };
    };
    await Promise.all([
      restarting().finally(() => {
        over = true;
      }),
      load,
      workAll(either, history, { agents: 4, slots: 8, over: () => left() <= 0, act }),
    ]);
    expect(failures).toEqual([]);
    const tasks = await cluster.sql<{ task_id: string; status: string }[]>`
    select task_id, status from task_state where 'I19' = any(tags)`;
    const statuses = new Map(tasks.map(({ task_id, status }) => [task_id, status]));
    const { entries } = history;
    const completed = checkSubmits(entries, statuses, new Set(['COMPLETED']));
    const found = [
      completed,
      checkAnswers(entries, ['submit', 'poll', 'result']),
      checkReruns(entries),
      checkResults(entries),
    ];
    assertFindings(found, { minimum: 20 * RESTARTS });
    expect(await cluster.sql`select distinct attempt, status from runs`).toEqual([{ attempt: 1, status: 'COMPLETED' }]);
    await cluster.audit();
  },
  TIMEOUT_MS,
);

const submitted = ({ entries }: History) => entries.filter(({ op, phase }) => op === 'submit' && phase === 'ok').length;

/** A cluster whose callers ask the other coordinator where one does not answer or has no time, as a load balancer does; what neither answers is written down. */
function withEither(cluster: Cluster, failures: string[]): Cluster {
  let turn = 0;
  const ask = async (url: unknown, init?: RequestInit) => {
    turn += 1;
    let failure = '';
    for (const { url: at } of [0, 1].map((n) => cluster.coordinators[(turn + n) % 2]!)) {
      try {
        const response = await fetch(String(url).replace(cluster.url, at), init);
        if (response.status !== 503) return response;
        failure = `${at} answered 503`;
      } catch (error) {
        failure = `${at}: ${(error as Error).cause ?? error}`;
      }
    }
    failures.push(failure);
    throw new Error(failure);
  };
  return {
    ...cluster,
    client: (credential) => createClient({ url: cluster.url, credential, fetch: ask as typeof fetch }),
  };
}

/** Ends a coordinator as an operator does, and starts it again when it is gone; what it had begun is gone on with when it says that it drains. */
async function restart(coordinator: CoordinatorProcess, goOn: () => Promise<unknown>): Promise<void> {
  const isReady = () =>
    fetch(`${coordinator.url}/readyz`).then(
      ({ status }) => status === 200,
      () => false,
    );
  // What was sent before this has come in.
  expect(await isReady()).toBe(true);
  const asked = performance.now();
  coordinator.kill('SIGTERM');
  while (await isReady()) expect(performance.now() - asked).toBeLessThan(UNREADY_MS);
  await goOn();
  expect(await coordinator.ended()).toBe(0);
  expect(performance.now() - asked).toBeLessThan(GONE_MS);
  await coordinator.start();
}
