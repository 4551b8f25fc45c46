import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import type { FakeCoordinator, Kind } from './testing/fake-coordinator.ts';
import { aCoordinator, aFolder, anAgent, untilAborted } from './testing/harness.ts';

const PROVING = { proof_of_possession: true };
const keyIn = (key_dir: string, name = 'agent-key.json') => JSON.parse(readFileSync(join(key_dir, name), 'utf8'));
const nextIn = (key_dir: string) => existsSync(join(key_dir, 'agent-key.next.json'));
const jtis = (coordinator: FakeCoordinator) => coordinator.seen.map(({ proof }) => decodeJwt(proof!).jti);
const authorizations = (coordinator: FakeCoordinator, kind: Kind) =>
  coordinator.of(kind).map(({ authorization }) => authorization);

describe('proof of possession', () => {
  test('every request proves itself anew, on both threads, also what earlier lives and later tokens say', async () => {
    const coordinator = await aCoordinator({ tokenLifeMs: 900, intervalMs: 100 });
    coordinator.door.requireDpop = true;
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { ...PROVING, key_dir });
    await agent.start();
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    await coordinator.until('token');
    await coordinator.until('heartbeat', ({ authorization }) => authorization === 'DPoP token-2');
    await agent.stop();
    await anAgent(coordinator, { ...PROVING, key_dir, labels: { zone: 'b' } }).start();
    await coordinator.until('update');
    await coordinator.next('poll');
    expect(new Set(coordinator.seen.map(({ kind }) => kind))).toEqual(
      new Set(['register', 'token', 'heartbeat', 'poll', 'leave', 'update']),
    );
    expect(new Set(jtis(coordinator)).size).toBe(coordinator.seen.length);
    expect(agent.heard('unreachable')).toEqual([]);
    expect(agent.heard('beat-failed')).toEqual([]);
  });

  test('proofs are dated by the clock of the coordinator', async () => {
    const coordinator = await aCoordinator();
    coordinator.door.requireDpop = true;
    coordinator.door.aheadMs = 600_000;
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { ...PROVING, key_dir });
    await agent.start();
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    await agent.hears('beat');
    await agent.stop();
    // The polls of the next life are the first word of a thread that has not seen the coordinator's clock.
    const next = anAgent(coordinator, { ...PROVING, key_dir });
    await next.start();
    await next.hears('beat');
    expect(await coordinator.result(coordinator.hand('echo', 2))).toMatchObject({ result_data: 2 });
  });

  test('... also beside an agent of a coordinator with another clock', async () => {
    const [ahead, right] = [await aCoordinator({ intervalMs: 100 }), await aCoordinator({ intervalMs: 10 })];
    ahead.door.aheadMs = 600_000;
    await anAgent(right).start();
    await anAgent(ahead, PROVING).start();
    await expect.poll(() => ahead.of('heartbeat').length).toBeGreaterThan(10);
    // The first one learns of it.
    const dated = ahead.of('heartbeat').slice(1);
    expect(dated.map(({ proof }) => decodeJwt(proof!).iat! > Date.now() / 1_000 + 500)).toEqual(dated.map(() => true));
  });

  const NAMES_IT = /proof_of_possession.*--proof-of-possession/;
  test('an agent that was not told to prove anything says which option it lacks, before it registers and after', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    coordinator.door.requireDpop = true;
    await expect(anAgent(coordinator, { key_dir }).start()).rejects.toThrow(NAMES_IT);
    coordinator.door.requireDpop = false;
    const agent = anAgent(coordinator, { key_dir });
    await agent.start();
    await agent.stop();
    coordinator.door.requireDpop = true;
    await expect(anAgent(coordinator, { key_dir }).start()).rejects.toThrow(NAMES_IT);
    expect(coordinator.of('register')).toHaveLength(2);
  });

  test('... and ends when the coordinator wants proofs from now on', async () => {
    const coordinator = await aCoordinator({ intervalMs: 100 });
    const agent = anAgent(coordinator);
    await agent.start();
    coordinator.door.requireDpop = true;
    expect(await agent.done).toBe('failed');
    expect(agent.heard('warning').map(({ message }) => message)).toEqual([expect.stringMatching(NAMES_IT)]);
  });

  test('a proof that is refused is made anew, then a token bought, with pauses', async () => {
    const coordinator = await aCoordinator();
    let refusals = 3;
    coordinator.on('poll', () => (refusals-- > 0 ? { status: 401, code: 'invalid-proof' } : undefined));
    const agent = anAgent(coordinator, PROVING);
    await agent.start();
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    // The beats may have bought one meanwhile, on a busy machine.
    const tokens = authorizations(coordinator, 'poll').slice(0, 4);
    expect(tokens.slice(0, 2)).toEqual(['DPoP token-1', 'DPoP token-1']);
    expect(tokens).toEqual(tokens.toSorted());
    expect(tokens[3]).not.toBe('DPoP token-1');
    expect(new Set(jtis(coordinator)).size).toBe(coordinator.seen.length);
    const [first, , , fourth] = coordinator.of('poll');
    expect(fourth!.at - first!.at).toBeGreaterThan(100 + 200 + 400);
    expect(agent.heard('unreachable')).toEqual([]);
  });

  test('... also where a token is bought', async () => {
    const coordinator = await aCoordinator();
    let refusals = 3;
    coordinator.on('token', () => (refusals-- > 0 ? { status: 401, code: 'invalid-proof' } : undefined));
    coordinator.on('poll', ({ authorization }) =>
      authorization === 'DPoP token-1' ? { status: 401, code: 'invalid-token' } : undefined,
    );
    const agent = anAgent(coordinator, PROVING);
    await agent.start();
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    const asked = coordinator.of('token');
    expect(asked).toHaveLength(4);
    expect(asked[3]!.at - asked[0]!.at).toBeGreaterThan(100 + 200 + 400);
    expect(agent.heard('unreachable')).toEqual([]);
  });

  test('proofs that are refused for long are no reason to hurry, nor to end', async () => {
    const coordinator = await aCoordinator({ intervalMs: 100 });
    const agent = anAgent(coordinator, PROVING);
    await agent.start();
    for (const kind of ['poll', 'heartbeat', 'token'] as const)
      coordinator.on(kind, () => ({ status: 401, code: 'invalid-proof' }));
    const { length } = coordinator.seen;
    await agent.hears('unreachable');
    await agent.hears('beat-failed');
    const seconds = (performance.now() - coordinator.seen[length]!.at) / 1_000;
    expect(coordinator.seen.length - length).toBeLessThan(10 + 10 * seconds);
    for (const kind of ['poll', 'heartbeat', 'token'] as const) coordinator.off(kind);
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    expect(coordinator.of('register')).toHaveLength(1);
  });
});

describe('a change of the key', () => {
  test.each([{}, PROVING])(
    'leaves runs alone, and a restart is the same agent with the new key: %j',
    async (options) => {
      const coordinator = await aCoordinator({ intervalMs: 100 });
      const key_dir = aFolder();
      let letGo: () => void = () => undefined;
      const slow = () => new Promise<string>((resolve) => (letGo = () => resolve('done')));
      const agent = anAgent(coordinator, { ...options, key_dir, handlers: { slow } });
      await agent.start();
      const old = keyIn(key_dir);
      const run = coordinator.hand('slow');
      await agent.hears('executing');
      await agent.rotateKey();
      expect(coordinator.door.jwk!.x).not.toBe(old.x);
      expect(keyIn(key_dir).x).toBe(coordinator.door.jwk!.x);
      expect(statSync(join(key_dir, 'agent-key.json')).mode & 0o777).toBe(0o600);
      expect(nextIn(key_dir)).toBe(false);
      const scheme = options === PROVING ? 'DPoP' : 'Bearer';
      await coordinator.until('heartbeat', ({ authorization }) => authorization === `${scheme} token-2`);
      const polls = coordinator.of('poll').length;
      letGo();
      expect(await coordinator.result(run)).toMatchObject({ outcome: 'COMPLETED', result_data: 'done' });
      expect(authorizations(coordinator, 'poll')[polls]).toBe(`${scheme} token-2`);
      expect(agent.heard('aborted')).toEqual([]);
      await agent.stop();
      await anAgent(coordinator, { ...options, key_dir, handlers: { slow } }).start();
      expect(coordinator.of('register')).toHaveLength(1);
    },
  );

  test('makes what was under way by the old token wait for the new one', async () => {
    const coordinator = await aCoordinator({ intervalMs: 50 });
    const { handler, running } = untilAborted();
    const agent = anAgent(coordinator, { ...PROVING, handlers: { wait: handler } });
    await agent.start();
    coordinator.hand('wait');
    await running;
    const { x } = coordinator.door.jwk!;
    let [refused, answer]: [number, () => void] = [0, () => undefined];
    coordinator.on('heartbeat', () => {
      if (coordinator.door.jwk!.x !== x) refused += 1;
      return undefined;
    });
    coordinator.on('rotate', () => new Promise<void>((resolve) => (answer = resolve)));
    const rotated = agent.rotateKey();
    expect(agent.rotateKey()).toBe(rotated);
    await expect.poll(() => refused).toBe(1);
    answer();
    await rotated;
    await coordinator.until('heartbeat', ({ authorization }) => authorization === 'DPoP token-2');
    expect(coordinator.of('token')).toEqual([]);
    expect(coordinator.of('rotate')).toHaveLength(1);
    expect(agent.heard('aborted')).toEqual([]);
  });

  test.each([
    ['the answer is lost', 'lose', 1],
    ['the request is lost', 'cut', 2],
  ] as const)('comes about though %s', async (_, fate, requests) => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { ...PROVING, key_dir });
    await agent.start();
    coordinator.on('rotate', () => {
      coordinator.off('rotate');
      return fate;
    });
    await agent.rotateKey();
    expect(coordinator.of('rotate')).toHaveLength(requests);
    expect(keyIn(key_dir).x).toBe(coordinator.door.jwk!.x);
    expect(nextIn(key_dir)).toBe(false);
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
  });

  test('that is refused leaves the old key, and the next one is another', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { key_dir });
    await agent.start();
    const old = keyIn(key_dir);
    coordinator.on('rotate', () => ({ status: 409, code: 'conflict' }));
    await expect(agent.rotateKey()).rejects.toThrow('the key was not changed: as scripted');
    expect(keyIn(key_dir)).toEqual(old);
    expect(nextIn(key_dir)).toBe(false);
    coordinator.off('rotate');
    await agent.rotateKey();
    const offered = coordinator.of('rotate').map(({ body }) => (decodeJwt(body.rotation).new_jwk as { x: string }).x);
    expect(new Set(offered).size).toBe(2);
    expect(coordinator.door.jwk!.x).toBe(offered[1]);
    expect(agent.heard('ended')).toEqual([]);
  });

  test('whose end is not known for now comes to light when the coordinator is back', async () => {
    const coordinator = await aCoordinator({ intervalMs: 100 });
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { ...PROVING, key_dir });
    await agent.start();
    coordinator.on('rotate', () => 'lose');
    coordinator.on('token', () => 'cut');
    await expect(agent.rotateKey()).rejects.toThrow('the key may not have been changed');
    expect(nextIn(key_dir)).toBe(true);
    coordinator.off('token');
    await expect.poll(() => keyIn(key_dir).x).toBe(coordinator.door.jwk!.x);
    expect(nextIn(key_dir)).toBe(false);
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    expect(agent.heard('ended')).toEqual([]);
  });

  test('whose key cannot be put in its place keeps it where it is, safe from the next change', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { key_dir });
    await agent.start();
    await rm(join(key_dir, 'agent-key.json'));
    await mkdir(join(key_dir, 'agent-key.json'));
    for (const _ of [1, 2]) {
      await expect(agent.rotateKey()).rejects.toThrow(/rename/);
      expect(keyIn(key_dir, 'agent-key.next.json').x).toBe(coordinator.door.jwk!.x);
    }
    expect(agent.heard('warning')).toHaveLength(1);
    await rmdir(join(key_dir, 'agent-key.json'));
    await agent.rotateKey();
    expect(coordinator.of('rotate')).toHaveLength(2);
    expect(keyIn(key_dir).x).toBe(coordinator.door.jwk!.x);
  });

  test('is dated by the clock of the coordinator, though no beat has told it yet', async () => {
    const coordinator = await aCoordinator();
    coordinator.door.aheadMs = 600_000;
    coordinator.on('heartbeat', () => 'hang');
    const agent = anAgent(coordinator);
    await agent.start();
    const { x } = coordinator.door.jwk!;
    await agent.rotateKey();
    expect(coordinator.door.jwk!.x).not.toBe(x);
  });

  test('is not for an agent that is not there', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { key_dir });
    await expect(agent.rotateKey()).rejects.toThrow('not connected');
    await agent.start();
    await agent.stop();
    await expect(agent.rotateKey()).rejects.toThrow('not connected');
    expect(nextIn(key_dir)).toBe(false);
  });
});

describe('a crash in the middle of a change of the key', () => {
  /** Two keys in a folder, and a coordinator that takes one of them. */
  async function aCrash({ tookNext }: { tookNext: boolean }) {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { key_dir });
    await agent.start();
    await agent.stop();
    const next = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
    const path = join(key_dir, 'agent-key.next.json');
    await writeFile(path, JSON.stringify(next), { mode: 0o600 });
    const { d: _, ...jwk } = next;
    if (tookNext) coordinator.door.jwk = jwk;
    return { coordinator, key_dir, path, taken: coordinator.door.jwk! };
  }

  test.each([
    [true, {}],
    [true, PROVING],
    [false, {}],
    [false, PROVING],
  ])('the next life has the key the coordinator takes; took the new one: %s, %j', async (tookNext, options) => {
    const { coordinator, key_dir, taken } = await aCrash({ tookNext });
    const agent = anAgent(coordinator, { ...options, key_dir });
    await agent.start();
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ result_data: 1 });
    expect(keyIn(key_dir).x).toBe(taken.x);
    expect(nextIn(key_dir)).toBe(false);
    await agent.rotateKey();
    expect(keyIn(key_dir).x).toBe(coordinator.door.jwk!.x);
    expect(coordinator.of('register')).toHaveLength(1);
  });

  test('the new key may not be read by others either', async () => {
    const { coordinator, key_dir, path } = await aCrash({ tookNext: true });
    await chmod(path, 0o640);
    await expect(anAgent(coordinator, { key_dir }).start()).rejects.toThrow(/next\.json.*mode 0640/);
  });
});
