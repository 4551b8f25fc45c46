import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listAgents } from '@muster/shared/contract/agents';
import { newId } from '@muster/shared/ids';
import { eventually, startHttpProxy } from '@muster/testing';
import { newKey } from '@muster/testing/jwt';
import { expect, onTestFinished, test } from 'vitest';
import { type Network, scratch, startNetwork, startSdkAgent } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';

const REQUIRED = { env: { MUSTER_REQUIRE_DPOP: 'true' } };
const PROVING = { proof_of_possession: true };
const echo = ({ input_data }: { input_data: unknown }) => input_data;

const fileIn = (key_dir: string, name = 'agent-key.json') => join(key_dir, name);
const nextIn = (key_dir: string) => fileIn(key_dir, 'agent-key.next.json');
const read = (path: string) => readFileSync(path, 'utf8');
const write = (path: string, text: string) => writeFileSync(path, text, { mode: 0o600 });

const agentsOf = async ({ admin }: Network) => (await admin(listAgents, { query: {} })).data;
const submitMany = (network: Network, count: number, task_type: string) =>
  Promise.all(Array.from({ length: count }, (_, n) => network.submit({ task_type, input_data: n })));

/** Each task was done, by its first run. */
async function allDone(network: Network, tasks: string[]) {
  const done = await Promise.all(tasks.map((task_id) => network.until(task_id, 'COMPLETED')));
  expect(done.map(({ runs }) => runs.length)).toEqual(tasks.map(() => 1));
}

test('an agent that proves its key works where proofs are required, and one that does not is told what it lacks', async () => {
  const network = await startNetwork(REQUIRED);
  await startSdkAgent(network, { ...PROVING, slots: 4, handlers: { echo } });
  await allDone(network, await submitMany(network, 20, 'echo'));
  await expect(startSdkAgent(network, { handlers: { echo } })).rejects.toThrow('proof_of_possession');
  expect(await agentsOf(network)).toHaveLength(1);
});

test.each([
  ['proven', REQUIRED, PROVING],
  ['bearer', {}, {}],
])('an agent (%s) changes its key again and again while it works, and no run is lost', async (_, where, options) => {
  const network = await startNetwork(where);
  const key_dir = scratch('keys');
  const gates: (() => void)[] = [];
  const wait = () => new Promise<void>((resolve) => gates.push(resolve));
  const aborted: unknown[] = [];
  const agent = await startSdkAgent(network, { ...options, key_dir, slots: 8, handlers: { wait, echo } });
  for (const name of ['aborted', 'ended', 'fenced'] as const) agent.on(name, (detail) => aborted.push([name, detail]));
  const first = read(fileIn(key_dir));

  const held = await submitMany(network, 4, 'wait');
  await eventually(() => expect(gates).toHaveLength(4));
  const quick = [];
  for (let round = 0; round < 5; round++) {
    const submitted = submitMany(network, 10, 'echo');
    await agent.rotateKey();
    quick.push(...(await submitted));
  }
  for (const open of gates) open();
  await allDone(network, [...held, ...quick]);
  expect(aborted).toEqual([]);
  expect(read(fileIn(key_dir))).not.toBe(first);

  const thief = new RawAgent({ url: network.url }, JSON.parse(first));
  thief.agentId = agent.agentId!;
  await expect(thief.assert(newId('boot'))).rejects.toMatchObject({ code: 'invalid-token' });
});

test('an agent whose key has changed is the same agent when it starts again', async () => {
  const network = await startNetwork(REQUIRED);
  const key_dir = scratch('keys');
  const before = await startSdkAgent(network, { ...PROVING, key_dir, handlers: { echo } });
  await before.rotateKey();
  await before.stop();
  const after = await startSdkAgent(network, { ...PROVING, key_dir, handlers: { echo } });
  expect(after.agentId).toBe(before.agentId);
  await allDone(network, await submitMany(network, 1, 'echo'));
  expect(await agentsOf(network)).toHaveLength(1);
});

test('a change of the key whose answer is lost comes about all the same', async () => {
  const network = await startNetwork();
  const proxy = await startHttpProxy(network.url);
  onTestFinished(() => proxy.stop());
  const isRotation = ({ path }: { path: string }) => path.endsWith('/rotate-key');
  proxy.judge((exchange) => (isRotation(exchange) ? 'lose' : 'pass'));
  const key_dir = scratch('keys');
  const agent = await startSdkAgent({ ...network, url: proxy.url }, { key_dir, handlers: { echo } });
  const before = read(fileIn(key_dir));
  await agent.rotateKey();
  expect(proxy.exchanges.filter(isRotation)).toHaveLength(1);
  expect(read(fileIn(key_dir))).not.toBe(before);
  await allDone(network, await submitMany(network, 3, 'echo'));
});

test.each([
  ['after the coordinator took the new key', true],
  ['before the coordinator heard of it', false],
])('an agent killed in the middle of changing its key, %s, comes back as who it was', async (_, heard) => {
  const network = await startNetwork(REQUIRED);
  const key_dir = scratch('keys');
  const killed = await startSdkAgent(network, { ...PROVING, key_dir, handlers: { echo } });
  const old = read(fileIn(key_dir));
  if (heard) await killed.rotateKey();
  await killed.stop();
  // As a crash between the two writes leaves it: the old key in its place, the new one beside it.
  write(nextIn(key_dir), heard ? read(fileIn(key_dir)) : `${JSON.stringify(newKey())}\n`);
  const taken = heard ? read(nextIn(key_dir)) : old;
  write(fileIn(key_dir), old);

  const agent = await startSdkAgent(network, { ...PROVING, key_dir, handlers: { echo } });
  expect(agent.agentId).toBe(killed.agentId);
  expect(read(fileIn(key_dir))).toBe(taken);
  expect(existsSync(nextIn(key_dir))).toBe(false);
  await allDone(network, await submitMany(network, 2, 'echo'));
  await agent.rotateKey();
  await allDone(network, await submitMany(network, 2, 'echo'));
  expect(await agentsOf(network)).toHaveLength(1);
});
