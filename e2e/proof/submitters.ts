import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from '@muster/shared/client';
import { createBatch } from '@muster/shared/contract/batches';
import { createTask } from '@muster/shared/contract/tasks';
import type { CoordinatorProcess, History } from '@muster/testing';
import { randomOf } from '@muster/testing/random';
import { inParallel } from '../fixtures/network.ts';
import { persist } from '../invariants/cluster.ts';
import type { Keeper } from './keeper.ts';
import { SEED, WHOLE } from './scale.ts';

const CLIENTS = 32;
/** How many tasks come in one request, every other time. */
const BATCH = WHOLE ? 2 : 20;
/** How long a submitter thinks between two requests, in milliseconds, so that it lasts as long as the kills. */
const THINK_MS = WHOLE ? 550 : 200;
/** How long a task takes, in milliseconds; in a fiftieth all the same, as those that end together are reported together, which is sooner done. */
const TASK_MS = WHOLE ? { from: 0, to: 1_500 } : { from: 40, to: 40 };

/** Where it is submitted: each request to any coordinator that is ready; `url` is that of one of them. */
interface Network {
  url: string;
  history: History;
  coordinators: Keeper<CoordinatorProcess>;
}

/** How many tasks each request brings: one, and in turns with it a batch. */
function requests(tasks: number): number[] {
  const sizes: number[] = [];
  for (let left = tasks; left > 0; left -= sizes.at(-1)!)
    sizes.push(Math.min(left, sizes.length % 2 === 0 ? 1 : BATCH));
  return sizes;
}

/** Submits as that many clients, each one request after the other, to any coordinator and until it is answered. */
export async function submitAll(
  { url, history, coordinators }: Network,
  tasks: number,
  credential: string,
): Promise<void> {
  const random = randomOf(SEED);
  const anywhere = (at: unknown, init?: RequestInit) => {
    const to = random.pick([...coordinators.ready]);
    return fetch(String(at).replace(url, to.url), init);
  };
  const admin = createClient({ url, credential, fetch: anywhere as typeof fetch });
  const task = () => ({
    task_type: 'sleep',
    input_data: { seconds: random.between(TASK_MS.from, TASK_MS.to) / 1_000 },
    max_retries: 20,
    retry_policy: 'fixed' as const,
    retry_base_ms: 10,
  });
  await inParallel(requests(tasks), CLIENTS, async (size, n) => {
    await pause(random.between(0, 2 * THINK_MS));
    const [client, headers] = [`client-${n % CLIENTS}`, { 'idempotency-key': `kills-${n}` }];
    const [body, ...others] = Array.from({ length: size }, task) as [ReturnType<typeof task>];
    const submit = async () => ({ task_id: (await admin(createTask, { body }, { headers })).task_id });
    const batch = async () => {
      const { results } = await admin(createBatch, { body: { tasks: [body, ...others] } }, { headers });
      return { task_ids: results.map(({ task_id }) => task_id) };
    };
    if (size === 1) return void (await persist(() => history.call(client, 'submit', {}, submit)));
    const { task_ids } = await persist(() => history.call(client, 'batch', { size }, batch));
    for (const task_id of task_ids) history.told(client, 'submit', {}, { task_id });
  });
}
