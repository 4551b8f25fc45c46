import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getAgent } from '@muster/shared/contract/agents';
import { getTrust } from '@muster/shared/contract/trust';
import { expect, test } from 'vitest';
import { scratch, startAgentProcess, startNetwork, supervise } from './fixtures/network.ts';

test('a task is assigned to an agent process, executed and completed: the SHA-256 of every file of a folder is right', async () => {
  const folder = scratch('files');
  const expected: Record<string, string> = {};
  mkdirSync(join(folder, 'deep', 'er'), { recursive: true });
  for (const [name, size] of [
    ['empty', 0],
    ['one byte', 1],
    ['deep/small.txt', 10_000],
    ['deep/er/large.bin', 3_000_000],
  ] as const) {
    const content = randomBytes(size);
    writeFileSync(join(folder, name), content);
    expected[name] = createHash('sha256').update(content).digest('hex');
  }
  const network = await startNetwork();
  const task_id = await network.submit({ task_type: 'sha256-folder', input_data: { path: folder } });
  expect(await network.task(task_id)).toMatchObject({ status: 'PENDING', agent_id: null, attempt: 0, runs: [] });

  const agent = await startAgentProcess(supervise(), network);
  const task = await network.until(task_id, 'COMPLETED');
  expect(task.result_data).toEqual({ files: expected });
  expect(task).toMatchObject({ agent_id: agent.agent_id, attempt: 1, error: null, dead_letter: false });
  expect(task.runs).toMatchObject([{ status: 'COMPLETED', agent_id: agent.agent_id, attempt: 1 }]);
});

test('an agent process registers, beats, polls, executes and reports, in this order, and its trust rises', async () => {
  const network = await startNetwork();
  const { process, agent_id } = await startAgentProcess(supervise(), network, { name: 'sample' });
  const events: unknown[] = [];
  const heard = async (event: string) => {
    await process.waitForLine((line) => line.event === event);
    events.push(event);
  };
  await heard('registered');
  await heard('started');
  await Promise.all([heard('polling'), process.waitForLine(({ event }) => event === 'beat')]);
  expect(await network.admin(getAgent, { params: { agent_id } })).toMatchObject({
    display_name: 'sample',
    status: 'ACTIVE',
    health: 'OK',
    mode: 'OPEN',
    slots: 4,
    slots_used: 0,
    trust_score: 0.5,
  });

  const task_id = await network.submit({ task_type: 'word-count', input_data: { text: 'to be or\nnot to be' } });
  for (const event of ['assigned', 'executing', 'finished', 'reported']) await heard(event);
  const said = process
    .tail(100)
    .split('\n')
    .flatMap((text) => (text.startsWith('{') ? [JSON.parse(text).event] : []));
  expect(said.filter((event) => events.includes(event)).filter((event, n, all) => all.indexOf(event) === n)).toEqual(
    events,
  );
  const task = await network.until(task_id, 'COMPLETED');
  expect(task.result_data).toEqual({ words: 6, lines: 2, characters: 18 });
  const trust = await network.admin(getTrust, { params: { agent_id } });
  expect(trust.trust_score).toBeGreaterThan(0.5);
  expect(trust.capabilities).toMatchObject([{ capability: 'word-count', completed: 1, failed: 0 }]);
});
