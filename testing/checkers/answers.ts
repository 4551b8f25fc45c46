import { callsOf, type Finding, isOk, type Submitted } from '../checkers.ts';
import type { Entry } from '../history.ts';

/** I2: a request that is made again makes the task it made, and no other request does. Submits are asked with `{ idempotency_key }`. */
export function checkOnce(entries: readonly Entry[]): Finding {
  const taskOf = new Map<string, string>();
  const keyOf = new Map<string, string>();
  const broken: string[] = [];
  let checked = 0;
  for (const { asked, ended } of callsOf(entries, 'submit').filter(isOk)) {
    const { idempotency_key: key } = asked.value as { idempotency_key?: string };
    if (key === undefined) continue;
    checked += 1;
    const { task_id } = ended!.value as Submitted;
    const [task, other] = [taskOf.get(key) ?? task_id, keyOf.get(task_id) ?? key];
    if (task !== task_id) broken.push(`the request ${key} made ${task} and ${task_id}`);
    if (other !== key) broken.push(`${task_id} was made by the requests ${other} and ${key}`);
    taskOf.set(key, task);
    keyOf.set(task_id, other);
  }
  return { promise: 'the same request makes one task', checked, broken };
}

/** I13: a batch is there whole and in its order, or not at all. Batches are asked with `{ key, size }` and answered with `{ task_ids }`; `there`: the tasks of each at the end. */
export function checkBatches(entries: readonly Entry[], there: ReadonlyMap<string, readonly string[]>): Finding {
  const batches = callsOf(entries, 'batch');
  const broken = batches.flatMap(({ asked, ended }) => {
    const { key, size } = asked.value as { key: string; size: number };
    const found = there.get(key) ?? [];
    if (ended?.phase === 'ok') {
      const { task_ids } = ended.value as { task_ids: string[] };
      return String(found) === String(task_ids) ? [] : [`batch ${key} was acknowledged as other tasks than are there`];
    }
    if (ended?.phase === 'fail' && found.length > 0)
      return [`batch ${key} was refused, and ${found.length} of it are there`];
    return found.length === 0 || found.length === size ? [] : [`of batch ${key} ${found.length} of ${size} are there`];
  });
  return { promise: 'a batch is there whole or not at all', checked: batches.length, broken };
}

/** I19, I26, I28: calls of these kinds are answered, or refused by one of these codes. What was never answered is found too. */
export function checkAnswers(
  entries: readonly Entry[],
  ops: readonly string[],
  { allowed = [] }: { allowed?: readonly string[] } = {},
): Finding {
  const calls = ops.flatMap((op) => callsOf(entries, op));
  const broken = calls.flatMap(({ op, asked, ended }) => {
    if (ended?.phase === 'ok' || (ended && allowed.includes(String(ended.value)))) return [];
    return [`a ${op} by ${asked.process} was ${ended ? `${ended.phase}: ${ended.value}` : 'never answered'}`];
  });
  return { promise: 'who asks is answered', checked: calls.length, broken };
}

/** How long the calls of a kind took that were answered, in milliseconds. */
export const timesOf = (entries: readonly Entry[], op: string): number[] =>
  callsOf(entries, op)
    .filter(isOk)
    .map(({ asked, ended }) => ended!.at - asked.at);

/** I24, I27: of the calls of a kind that were answered so many of a hundred took no longer than that. */
export function checkTimes(
  entries: readonly Entry[],
  op: string,
  { percent = 99, mostMs }: { percent?: number; mostMs: number },
): Finding {
  const times = timesOf(entries, op).sort((a, b) => a - b);
  const at = times[Math.max(0, Math.ceil((times.length * percent) / 100) - 1)] ?? 0;
  const broken = at > mostMs ? [`the ${percent}th of a hundred took ${Math.round(at)} ms, not ${mostMs}`] : [];
  return { promise: `a ${op} is answered in time`, checked: times.length, broken };
}

/** I23: who reads a list to its end sees all that was there all the time, and nothing twice. Pages are answered as `{ ids }`; a process reads one list once. */
export function checkPages(entries: readonly Entry[], lasting: ReadonlySet<string>): Finding {
  const readers = new Map<string, string[]>();
  for (const { ended } of callsOf(entries, 'page').filter(isOk)) {
    const { ids } = ended!.value as { ids: string[] };
    readers.set(ended!.process, [...(readers.get(ended!.process) ?? []), ...ids]);
  }
  const broken: string[] = [];
  let checked = 0;
  for (const [reader, ids] of readers) {
    const seen = new Set(ids);
    checked += ids.length;
    if (seen.size < ids.length) broken.push(`${reader} saw ${ids.length - seen.size} twice`);
    for (const id of lasting) if (!seen.has(id)) broken.push(`${reader} did not see ${id}`);
  }
  return { promise: 'pages join without a gap', checked, broken };
}

/** I14: evidence folded anew is what was kept. Replays are answered as `{ difference }`. */
export function checkReplays(entries: readonly Entry[], { most = 1e-12 }: { most?: number } = {}): Finding {
  const replays = callsOf(entries, 'replay').filter(isOk);
  const broken = replays.flatMap(({ asked, ended }) => {
    const { difference } = ended!.value as { difference: number | null };
    return difference !== null && difference <= most ? [] : [`${JSON.stringify(asked.value)} differs by ${difference}`];
  });
  return { promise: 'the evidence explains the scores', checked: replays.length, broken };
}
