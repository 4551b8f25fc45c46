import { readdirSync, statSync } from 'node:fs';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assertionClaims, registrationClaims } from '@muster/shared/contract/agents';
import { decodeJwt, EmbeddedJWK, importJWK, type JWK, jwtVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { TaskError } from './handler.ts';
import type { FakeCoordinator } from './testing/fake-coordinator.ts';
import { aCoordinator, aFolder, anAgent, untilAborted } from './testing/harness.ts';

describe('identity', () => {
  test('registers with a JWT its own key vouches for, claims as the contract wants them', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { key_dir, slots: 3, display_name: 'one', labels: { zone: 'a' } });
    await agent.start();
    const { body } = await coordinator.until('register');
    const { payload, protectedHeader } = await jwtVerify(body.registration, EmbeddedJWK, { audience: 'muster' });
    expect(protectedHeader).toMatchObject({ alg: 'EdDSA', typ: 'agent-registration+jwt' });
    expect(protectedHeader.jwk).not.toHaveProperty('d');
    expect(registrationClaims.parse(payload)).toMatchObject({
      enrollment_token: 'enrol-me',
      display_name: 'one',
      capabilities: ['echo'],
      slots: 3,
      labels: { zone: 'a' },
    });
    expect(agent.agentId).toBe(coordinator.agentId);
    expect(statSync(join(key_dir, 'agent-key.json')).mode & 0o777).toBe(0o600);
  });

  test.each([['127.0.0.1:8000'], ['localhost:8000'], ['ws://localhost'], ['']])(
    'a URL that is none is refused by its name: %s',
    (url) => {
      expect(() => anAgent({ url })).toThrow(`url: "${url}" is no URL`);
    },
  );

  test('a restart is the same agent with the same key and a new boot, and tells what changed', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const first = anAgent(coordinator, { key_dir, display_name: 'one' });
    await first.start();
    await first.stop();
    const registration = (await coordinator.until('register')).body.registration;
    const { protectedHeader, payload: before } = await jwtVerify(registration, EmbeddedJWK);

    const second = anAgent(coordinator, { key_dir, display_name: 'one', capabilities: ['echo', 'more'] });
    await second.start();
    const { body } = await coordinator.until('token');
    const key = await importJWK(protectedHeader.jwk as JWK, 'EdDSA');
    const { payload } = await jwtVerify(body.assertion, key, { typ: 'agent-assertion+jwt', maxTokenAge: 60 });
    expect(assertionClaims.parse(payload).sub).toBe(first.agentId);
    expect(payload.boot_id).not.toBe(before.boot_id);
    expect(coordinator.of('register')).toHaveLength(1);
    expect((await coordinator.until('capabilities')).body).toEqual({ capabilities: ['echo', 'more'] });
    expect(coordinator.of('update')).toHaveLength(0);
  });

  test.each([401, 404])('an agent the coordinator no longer knows (%i) registers again', async (status) => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const first = anAgent(coordinator, { key_dir });
    await first.start();
    await first.stop();
    coordinator.on('token', () => ({ status, code: status === 401 ? 'invalid-token' : 'not-found' }));
    await anAgent(coordinator, { key_dir }).start();
    expect(coordinator.of('register')).toHaveLength(2);
  });

  test('a key that others can read is refused', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const first = anAgent(coordinator, { key_dir });
    await first.start();
    await first.stop();
    await chmod(join(key_dir, 'agent-key.json'), 0o644);
    await expect(anAgent(coordinator, { key_dir }).start()).rejects.toThrow(/mode 0644.*chmod 600/);
  });

  test('without registration and token it says what is missing', async () => {
    const coordinator = await aCoordinator();
    const agent = anAgent(coordinator, { enrollment_token: '' });
    await expect(agent.start()).rejects.toThrow(/enrollment token is needed/);
    expect(await agent.done).toBe('failed');
  });

  test('an access token that is refused is renewed, and the call goes again', async () => {
    const coordinator = await aCoordinator();
    coordinator.on('poll', ({ authorization }) =>
      authorization === 'Bearer token-1' ? { status: 401, code: 'invalid-token' } : undefined,
    );
    await anAgent(coordinator).start();
    await coordinator.until('poll', ({ authorization }) => authorization === 'Bearer token-2');
  });

  test('an access token that is not renewed because a newer life began ends this one', async () => {
    const coordinator = await aCoordinator({ tokenLifeMs: 600, intervalMs: 100 });
    coordinator.on('token', () => ({ status: 409, code: 'stale-lease' }));
    const agent = anAgent(coordinator);
    await agent.start();
    expect(await agent.done).toBe('superseded');
  });

  test('an agent the coordinator calls revoked at its start asks whether it may register', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const first = anAgent(coordinator, { key_dir });
    await first.start();
    await first.stop();
    coordinator.on('token', () => ({ status: 401, code: 'token-revoked' }));
    coordinator.on('register', () => ({ status: 401, code: 'token-revoked' }));
    await expect(anAgent(coordinator, { key_dir }).start()).rejects.toMatchObject({ code: 'token-revoked' });
    coordinator.off('register');
    await anAgent(coordinator, { key_dir }).start();
  });

  test('an access token is renewed at two thirds of its life', async () => {
    const coordinator = await aCoordinator({ tokenLifeMs: 4_000, intervalMs: 100 });
    await anAgent(coordinator).start();
    const registered = await coordinator.until('register');
    const renewed = await coordinator.until('token');
    expect(renewed.at - registered.at).toBeGreaterThan(2_400);
    expect(renewed.at - registered.at).toBeLessThan(4_000);
    await coordinator.until('heartbeat', ({ authorization }) => authorization === 'Bearer token-2');
  });
});

describe('beats', () => {
  test('tell of a lost run: its handler is aborted, its result thrown away', async () => {
    const coordinator = await aCoordinator();
    const { handler, reason, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler } });
    await agent.start();
    const run = coordinator.hand('wait');
    await running;
    coordinator.on('heartbeat', () => ({ lost: [run] }));
    expect(await reason).toBe('lease-lost');
    await agent.hears('discarded');
    await agent.drain();
    expect(coordinator.of('poll').flatMap(({ body }) => body.results ?? [])).toEqual([]);
  });

  test('tell of a cancel: CANCELLED is reported only when the handler is gone', async () => {
    const coordinator = await aCoordinator();
    let letGo: () => void = () => undefined;
    const stubborn = () => new Promise<void>((resolve) => (letGo = resolve));
    const agent = anAgent(coordinator, { handlers: { stubborn } });
    await agent.start();
    const run = coordinator.hand('stubborn');
    await agent.hears('executing');
    coordinator.on('heartbeat', () => ({ cancel: [run] }));
    expect(await agent.hears('aborted')).toMatchObject({ reason: 'cancelled' });
    await coordinator.next('heartbeat');
    expect(agent.heard('finished')).toEqual([]);
    letGo();
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'CANCELLED' });
  });

  test('tell to drain: no more polls for work, what runs is finished, then the agent leaves', async () => {
    const coordinator = await aCoordinator();
    let letGo: () => void = () => undefined;
    const slow = () => new Promise<string>((resolve) => (letGo = () => resolve('done')));
    const agent = anAgent(coordinator, { handlers: { slow }, slots: 2 });
    await agent.start();
    const run = coordinator.hand('slow');
    await agent.hears('executing');
    coordinator.on('heartbeat', () => ({ drain: true }));
    await agent.hears('draining');
    await coordinator.next('heartbeat');
    letGo();
    expect(await agent.done).toBe('drained');
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'COMPLETED', result_data: 'done' });
    expect(coordinator.seen.at(-1)!.kind).toBe('leave');
  });

  test('that nobody answers fence the agent: runs stop before the lease ends, and it goes on when beats get through', async () => {
    const coordinator = await aCoordinator({ leaseTtlMs: 4_000 });
    const { handler, reason, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler, echo: () => 'back' } });
    await agent.start();
    coordinator.hand('wait');
    await running;
    const { at } = await coordinator.until('heartbeat');
    coordinator.on('heartbeat', () => 'cut');
    expect(await reason).toBe('lease-lost');
    // The lease of 4 s is left alone for its margin, half of so short a one.
    expect(performance.now() - at).toBeGreaterThan(1_600);
    expect(performance.now() - at).toBeLessThan(3_800);
    coordinator.off('heartbeat');
    await agent.hears('recovered');
    expect(await coordinator.result(coordinator.hand('echo'))).toMatchObject({ result_data: 'back' });
    expect(agent.heard('discarded')).toHaveLength(1);
  });

  test('that a coordinator without its database hears let the work go on, however long', async () => {
    const coordinator = await aCoordinator({ leaseTtlMs: 4_000 });
    let letGo: () => void = () => undefined;
    const slow = () => new Promise<string>((resolve) => (letGo = () => resolve('done')));
    const agent = anAgent(coordinator, { handlers: { slow } });
    await agent.start();
    const run = coordinator.hand('slow');
    await agent.hears('executing');
    await agent.hears('beat');
    coordinator.on('heartbeat', () => ({ status: 503, code: 'storage-unavailable' }));
    const since = performance.now();
    // Longer than an agent that cannot be heard goes on, which is half of so short a lease.
    while (performance.now() - since < 2_500) await coordinator.next('heartbeat');
    coordinator.off('heartbeat');
    letGo();
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'COMPLETED', result_data: 'done' });
    expect(agent.heard('fenced')).toEqual([]);
  });

  test.each([
    ['superseded', { status: 409, code: 'stale-lease' }],
    ['revoked', { status: 401, code: 'token-revoked' }],
  ] as const)('that are answered %s end the agent without a word', async (reason, problem) => {
    const coordinator = await aCoordinator();
    const { handler, reason: aborted, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler } });
    await agent.start();
    coordinator.hand('wait');
    await running;
    coordinator.on('heartbeat', () => problem);
    expect(await agent.done).toBe(reason);
    expect(await aborted).toBe('lease-lost');
    expect(coordinator.of('leave')).toEqual([]);
    expect(coordinator.of('poll').flatMap(({ body }) => body.results ?? [])).toEqual([]);
  });

  test('that are answered 404 make it register again and go on', async () => {
    const coordinator = await aCoordinator();
    const agent = anAgent(coordinator);
    await agent.start();
    coordinator.on('heartbeat', () => {
      coordinator.off('heartbeat');
      return { status: 404, code: 'not-found' };
    });
    await coordinator.next('register');
    expect(await coordinator.result(coordinator.hand('echo', 7))).toMatchObject({ result_data: 7 });
  });
});

describe('runs', () => {
  test.each([
    [
      'a plain error',
      () => {
        throw new Error('no');
      },
      { message: 'no', fault: 'agent' },
    ],
    [
      'a TaskError',
      () => {
        throw new TaskError('bad', { code: 'x', fault: 'task', retryable: false });
      },
      { message: 'bad', code: 'x', fault: 'task', retryable: false },
    ],
    ['a result too large', () => 'x'.repeat(950 * 1024), { code: 'result-too-large', fault: 'task', retryable: false }],
    ['a result that is no JSON', () => 1n, { code: 'result-invalid', fault: 'agent', retryable: false }],
  ])('%s fails the run', async (_, handler, error) => {
    const coordinator = await aCoordinator();
    await anAgent(coordinator, { handlers: { it: handler } }).start();
    expect(await coordinator.result(coordinator.hand('it'))).toMatchObject({ outcome: 'FAILED', error });
  });

  test.each([
    ['nobody-knows', 'unknown-task-type'],
    ['script', 'executor-disabled'],
    ['http', 'executor-disabled'],
  ])('a task of type %s fails as %s, for another agent to try', async (taskType, code) => {
    const coordinator = await aCoordinator();
    await anAgent(coordinator).start();
    const result = await coordinator.result(coordinator.hand(taskType));
    expect(result).toMatchObject({ outcome: 'FAILED', error: { code, fault: 'agent', retryable: true } });
  });

  test('a run over its time is TIMED_OUT', async () => {
    const coordinator = await aCoordinator();
    const { handler, reason } = untilAborted();
    await anAgent(coordinator, { handlers: { wait: handler } }).start();
    const run = coordinator.hand('wait', null, { timeout_seconds: 1 });
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'TIMED_OUT' });
    expect(await reason).toBe('timeout');
  });

  test('a handler that ignores its signal is told of after a grace and keeps its slot until it settles', async () => {
    const coordinator = await aCoordinator();
    let letGo: () => void = () => undefined;
    const stubborn = () => new Promise<void>((resolve) => (letGo = resolve));
    const agent = anAgent(coordinator, { handlers: { stubborn, echo: () => 'free' } });
    await agent.start();
    const stuck = coordinator.hand('stubborn', null, { timeout_seconds: 1 });
    expect(await coordinator.result(stuck)).toMatchObject({ outcome: 'TIMED_OUT' });
    const next = coordinator.hand('echo');
    const beat = await coordinator.next('heartbeat');
    expect(beat.body.slots_free).toBe(0);
    letGo();
    expect(await coordinator.result(next)).toMatchObject({ result_data: 'free' });
  });

  test('progress and checkpoints are sent at once, then the latest, and a checkpoint before a failure', async () => {
    const coordinator = await aCoordinator();
    await anAgent(coordinator, {
      handlers: {
        it: ({ progress, checkpoint }) => {
          progress({ percent: 1 });
          progress({ percent: 2, message: 'two' });
          checkpoint({ at: 2 });
          throw new Error('after two');
        },
      },
    }).start();
    await coordinator.result(coordinator.hand('it'));
    const told = coordinator.of('progress').map(({ body: { fence, ...word } }) => word);
    expect(told).toEqual([{ percent: 1 }, { percent: 2, message: 'two', checkpoint: { at: 2 } }]);
  });

  test('what a handler says that a run took goes with its result, failed or not; what is no usage fails the run', async () => {
    const coordinator = await aCoordinator();
    const took = { cpu_ms: 12, max_rss_bytes: 4096 };
    await anAgent(coordinator, {
      handlers: {
        good: ({ usage }) => usage(took),
        bad: ({ usage }) => {
          usage(took);
          throw new Error('no');
        },
        odd: ({ usage }) => usage({ cpu_ms: -1 }),
        silent: () => null,
      },
    }).start();
    const endOf = (taskType: string) => coordinator.result(coordinator.hand(taskType));
    expect(await endOf('good')).toMatchObject({ outcome: 'COMPLETED', usage: took });
    expect(await endOf('bad')).toMatchObject({ outcome: 'FAILED', usage: took });
    expect(await endOf('odd')).toMatchObject({
      outcome: 'FAILED',
      error: { message: expect.stringContaining('cpu_ms') },
    });
    expect(await endOf('silent')).not.toHaveProperty('usage');
  });

  test('progress may be answered with a cancel', async () => {
    const coordinator = await aCoordinator();
    const { handler, reason } = untilAborted();
    coordinator.on('progress', () => ({ cancel: true }));
    const it: typeof handler = (context) => {
      context.progress({ percent: 5 });
      return handler(context);
    };
    await anAgent(coordinator, { handlers: { it } }).start();
    expect(await coordinator.result(coordinator.hand('it'))).toMatchObject({ outcome: 'CANCELLED' });
    expect(await reason).toBe('cancelled');
  });

  test('are cancelled by a parked poll too, at once', async () => {
    const coordinator = await aCoordinator({ intervalMs: 60_000 });
    const { handler, reason, running } = untilAborted();
    const agent = anAgent(coordinator, { slots: 2, handlers: { wait: handler } });
    await agent.start();
    const run = coordinator.hand('wait');
    await running;
    await coordinator.until('poll', ({ body }) => body.slots === 1);
    coordinator.on('poll', ({ body }) => {
      if (body.slots === 0) return undefined;
      coordinator.off('poll');
      return { runs: [], cancel: [run] };
    });
    // Whatever is handed out wakes the parked poll; the next one is told of the cancel.
    coordinator.hand('unknown');
    expect(await reason).toBe('cancelled');
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'CANCELLED' });
    expect(agent.heard('beat').length).toBeLessThan(2);
  });

  test('of a full agent are cancelled by a poll that waits for nothing else, which does not keep it from more work', async () => {
    const coordinator = await aCoordinator({ intervalMs: 60_000 });
    const { handler, reason, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler, echo: () => 'back' } });
    await agent.start();
    const run = coordinator.hand('wait');
    await running;
    coordinator.on('poll', ({ body }) => {
      if (body.slots > 0 || body.results) return undefined;
      coordinator.off('poll');
      return { runs: [], cancel: [run] };
    });
    const watch = await coordinator.until('poll', ({ body }) => body.slots === 0);
    expect(watch.body).toEqual({ boot_id: expect.any(String), slots: 0, wait_ms: 20_000, holding: [run] });
    expect(await reason).toBe('cancelled');
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'CANCELLED' });
    expect(await coordinator.result(coordinator.hand('echo'))).toMatchObject({ result_data: 'back' });
  });

  test('a run that lasts says that it has started', async () => {
    const coordinator = await aCoordinator();
    const { handler } = untilAborted();
    await anAgent(coordinator, { handlers: { wait: handler } }).start();
    const run = coordinator.hand('wait');
    expect((await coordinator.until('start')).path).toBe(`/aitp/runs/${run}/start`);
  });
});

describe('results', () => {
  test('do not wait for a parked poll, and those of one turn go together', async () => {
    const coordinator = await aCoordinator();
    const gate: (() => void)[] = [];
    const agent = anAgent(coordinator, {
      slots: 4,
      handlers: { wait: () => new Promise<void>((go) => gate.push(go)) },
    });
    await agent.start();
    await coordinator.until('poll');
    const [one, two] = [coordinator.hand('wait'), coordinator.hand('wait')];
    // Two of four slots are taken: the next poll is parked for the other two.
    const parked = await coordinator.until('poll', ({ body }) => body.holding?.length === 2);
    expect(parked.body.slots).toBe(2);
    for (const go of gate) go();
    await coordinator.result(two!);
    const reports = coordinator.of('poll').filter(({ body }) => body.results);
    expect(reports).toHaveLength(1);
    expect(reports[0]!.body).toMatchObject({ slots: 0, wait_ms: 0, results: [{ run_id: one }, { run_id: two }] });
  });

  test('a run of several slots leaves that many fewer to ask for', async () => {
    const coordinator = await aCoordinator();
    const agent = anAgent(coordinator, { slots: 4, handlers: { wait: untilAborted().handler } });
    await agent.start();
    const run = coordinator.hand('wait', null, { slot_cost: 3 });
    const parked = await coordinator.until('poll', ({ body }) => body.holding?.includes(run) === true);
    expect(parked.body.slots).toBe(1);
  });

  test('a run handed out twice is run once', async () => {
    const coordinator = await aCoordinator();
    let runs = 0;
    const agent = anAgent(coordinator, { slots: 2, handlers: { count: () => ++runs } });
    await agent.start();
    const run = coordinator.hand('count');
    await coordinator.result(run);
    coordinator.on('poll', ({ body }) => {
      if (body.slots === 0) return undefined;
      coordinator.off('poll');
      return {
        runs: [
          {
            run_id: run,
            fence: 1,
            task_id: agent.agentId!.replace('agent', 'task'),
            task_type: 'count',
            capability_required: 'count',
            input_data: null,
            attempt: 1,
            timeout_seconds: 5,
          },
        ],
      };
    });
    await coordinator.result(coordinator.hand('count'));
    await coordinator.result(coordinator.hand('count'));
    expect(runs).toBe(3);
  });

  test('are kept on disk while the coordinator is away, and delivered by the next life', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const agent = anAgent(coordinator, { key_dir });
    await agent.start();
    coordinator.on('poll', ({ body }) => (body.results ? { status: 503, code: 'overloaded' } : undefined));
    coordinator.on('leave', () => 'cut');
    const run = coordinator.hand('echo', { kept: true });
    await coordinator.result(run);
    await agent.hears('unreachable');
    await expect.poll(() => readdirSync(join(key_dir, 'outbox'))).toEqual([`${run}.json`]);
    expect(statSync(join(key_dir, 'outbox', `${run}.json`)).mode & 0o777).toBe(0o600);
    coordinator.on('heartbeat', () => ({ status: 409, code: 'stale-lease' }));
    expect(await agent.done).toBe('superseded');

    coordinator.off('heartbeat');
    coordinator.off('poll');
    coordinator.seen.length = 0;
    const reborn = anAgent(coordinator, { key_dir });
    await reborn.start();
    expect(await coordinator.result(run)).toMatchObject({ outcome: 'COMPLETED', result_data: { kept: true } });
    await reborn.hears('reported');
    await expect.poll(() => readdirSync(join(key_dir, 'outbox'))).toEqual([]);
  });

  test('of an earlier life are delivered as that life before the new one begins', async () => {
    const coordinator = await aCoordinator();
    const { key_dir, run, bootId } = await anUndelivered(coordinator);
    const kinds = () => coordinator.seen.map(({ kind, body }) => [kind, body.boot_id ?? bootOf(body.assertion)]);
    const reborn = anAgent(coordinator, { key_dir });
    await reborn.start();
    const [, , [, newBootId] = []] = kinds();
    expect(kinds().slice(0, 3)).toEqual([
      ['token', bootId],
      ['poll', bootId],
      ['token', newBootId],
    ]);
    expect(newBootId).not.toBe(bootId);
    expect(coordinator.of('poll')[0]!.body).toMatchObject({ slots: 0, wait_ms: 0, results: [{ run_id: run }] });
    expect(reborn.heard('reported')).toEqual([{ run_id: run, outcome: 'COMPLETED', applied: true }]);
    expect(JSON.parse(await readFile(join(key_dir, 'agent.json'), 'utf8')).boot_id).toBe(newBootId);
    await expect.poll(() => readdirSync(join(key_dir, 'outbox'))).toEqual([]);
  });

  test.each([
    { status: 409, code: 'stale-lease' },
    { status: 401, code: 'invalid-token' },
  ])('of an earlier life that is over ($code) are given up as the new one', async (problem) => {
    const coordinator = await aCoordinator();
    const { key_dir, run, bootId } = await anUndelivered(coordinator);
    coordinator.on('token', ({ body }) => (bootOf(body.assertion) === bootId ? problem : undefined));
    coordinator.on('poll', ({ body }) =>
      body.results ? { results: [{ run_id: run, applied: false, code: 'stale-lease' }] } : undefined,
    );
    const reborn = anAgent(coordinator, { key_dir });
    await reborn.start();
    expect(await reborn.hears('reported')).toMatchObject({ run_id: run, applied: false, code: 'stale-lease' });
    await expect.poll(() => readdirSync(join(key_dir, 'outbox'))).toEqual([]);
    expect(coordinator.of('register')).toHaveLength(0);
  });

  test('of an earlier life wait for a coordinator that is not there yet', async () => {
    const coordinator = await aCoordinator();
    const { key_dir, run } = await anUndelivered(coordinator);
    coordinator.on('token', () => ({ status: 503, code: 'overloaded' }));
    const reborn = anAgent(coordinator, { key_dir });
    const started = reborn.start();
    await reborn.hears('unreachable');
    coordinator.off('token');
    await started;
    expect(reborn.heard('reported')).toMatchObject([{ run_id: run, applied: true }]);
  });

  test('that are large go in several requests, none near the limit of a body', async () => {
    const coordinator = await aCoordinator();
    const gate: (() => void)[] = [];
    const sizes = [300, 300, 300, 880, 20, 20];
    const agent = anAgent(coordinator, {
      slots: 6,
      handlers: {
        // Two bytes a character on the wire.
        big: async ({ input_data }) => {
          await new Promise<void>((go) => gate.push(go));
          return 'é'.repeat((input_data as number) * 512);
        },
      },
    });
    await agent.start();
    const runs = sizes.map((kilobytes) => coordinator.hand('big', kilobytes));
    await expect.poll(() => gate.length).toBe(sizes.length);
    for (const go of gate) go();
    await Promise.all(runs.map((run) => coordinator.result(run)));
    const bodies = coordinator.of('poll').filter(({ body }) => body.results);
    expect(bodies.map(({ body }) => body.results.length).sort()).toEqual([1, 1, 2, 2]);
    for (const { body } of bodies) expect(Buffer.byteLength(JSON.stringify(body))).toBeLessThan(1_000_000);
  });

  test('do not suffer from what stands between agent and coordinator', async () => {
    const coordinator = await aCoordinator();
    const agent = anAgent(coordinator);
    await agent.start();
    coordinator.on('poll', ({ body }) => (body.results ? { status: 404, code: '' } : undefined));
    coordinator.on('heartbeat', () => ({ status: 404, code: '' }));
    const run = coordinator.hand('echo', 'whole');
    await agent.hears('unreachable');
    await agent.hears('beat-failed');
    coordinator.off('poll');
    coordinator.off('heartbeat');
    await agent.hears('reported');
    expect(told(coordinator).every(({ run_id, outcome }) => run_id === run && outcome === 'COMPLETED')).toBe(true);
    expect(coordinator.of('register')).toHaveLength(1);
  });

  test('whose message Postgres cannot keep are told without what it cannot', async () => {
    const coordinator = await aCoordinator();
    const it = () => {
      throw new Error(`${'x'.repeat(9_999)}\u{1f600}`);
    };
    const nul = () => {
      throw new Error('a\0b');
    };
    await anAgent(coordinator, { handlers: { it, nul } }).start();
    const { error } = await coordinator.result(coordinator.hand('it'));
    expect(error.message).toHaveLength(10_000);
    expect(error.message.isWellFormed()).toBe(true);
    expect((await coordinator.result(coordinator.hand('nul'))).error.message).toBe('a\ufffdb');
  });

  test('the coordinator refuses fail their run without holding up the others', async () => {
    const coordinator = await aCoordinator();
    await anAgent(coordinator, { slots: 2 }).start();
    coordinator.on('poll', ({ body }) =>
      JSON.stringify(body.results ?? '').includes('poison') ? { status: 422, code: 'validation-failed' } : undefined,
    );
    const [bad, good] = [coordinator.hand('echo', 'poison'), coordinator.hand('echo', 'fine')];
    const of = (id: string, outcome: string) =>
      coordinator.until('poll', ({ body }) =>
        body.results?.some((one: { run_id: string; outcome: string }) => one.run_id === id && one.outcome === outcome),
      );
    await of(bad!, 'FAILED');
    await of(good!, 'COMPLETED');
  });
});

/** What an agent leaves behind that ended with a result it could not deliver; the coordinator is as new. */
async function anUndelivered(coordinator: FakeCoordinator) {
  const key_dir = aFolder();
  const agent = anAgent(coordinator, { key_dir });
  await agent.start();
  coordinator.on('poll', ({ body }) => (body.results ? { status: 503, code: 'overloaded' } : undefined));
  const run = coordinator.hand('echo', { kept: true });
  await expect.poll(() => readdirSync(join(key_dir, 'outbox'))).toEqual([`${run}.json`]);
  coordinator.on('heartbeat', () => ({ status: 409, code: 'stale-lease' }));
  await agent.done;
  coordinator.off('poll');
  coordinator.off('heartbeat');
  coordinator.seen.length = 0;
  return { key_dir, run, bootId: agent.heard('started')[0]!.boot_id };
}

/** All results that were told. */
const told = (coordinator: FakeCoordinator) => coordinator.of('poll').flatMap(({ body }) => body.results ?? []);

const bootOf = (assertion: string | undefined) => assertion && decodeJwt(assertion).boot_id;

describe('the end', () => {
  test('stop gives its runs back and leaves', async () => {
    const coordinator = await aCoordinator();
    const { handler, reason, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler } });
    await agent.start();
    coordinator.hand('wait');
    await running;
    await agent.stop();
    expect(await reason).toBe('stopped');
    expect(coordinator.of('leave')).toHaveLength(1);
    // To leave is to give back: nobody waits until that was told twice.
    expect(told(coordinator)).toEqual([]);
    expect(await agent.done).toBe('stopped');
  });

  test.each([
    ['is cut off', 'cut'],
    ['is refused for a while', { status: 503, code: 'overloaded' }],
  ] as const)('leaving that %s is told again while something is given back by it', async (_, answer) => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const { handler, running } = untilAborted();
    const agent = anAgent(coordinator, { key_dir, handlers: { wait: handler } });
    await agent.start();
    coordinator.hand('wait');
    await running;
    coordinator.on('leave', () => (coordinator.of('leave').length < 3 ? answer : undefined));
    await agent.stop();
    expect(coordinator.of('leave')).toHaveLength(3);
    expect(agent.heard('warning')).toEqual([]);
    expect(told(coordinator)).toEqual([]);
    expect(readdirSync(join(key_dir, 'outbox'))).toEqual([]);
  });

  test('leaving whose answer was lost is heard at the second try', async () => {
    const coordinator = await aCoordinator();
    const { handler, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler } });
    await agent.start();
    coordinator.hand('wait');
    await running;
    coordinator.on('leave', () => (coordinator.of('leave').length < 2 ? 'cut' : { status: 409, code: 'stale-lease' }));
    await agent.stop();
    expect(coordinator.of('leave')).toHaveLength(2);
    expect(agent.heard('warning')).toEqual([]);
  });

  test('who gives nothing back leaves once, heard or not', async () => {
    const coordinator = await aCoordinator();
    const agent = anAgent(coordinator);
    await agent.start();
    coordinator.on('leave', () => 'cut');
    await agent.stop();
    expect(coordinator.of('leave')).toHaveLength(1);
    expect(agent.heard('warning')).toMatchObject([{ message: expect.stringContaining('leaving was not heard') }]);
  });

  test('where leaving is not heard, what was given back is told by the next life', async () => {
    const coordinator = await aCoordinator();
    const key_dir = aFolder();
    const { handler, running } = untilAborted();
    const agent = anAgent(coordinator, { key_dir, handlers: { wait: handler } });
    await agent.start();
    const run = coordinator.hand('wait');
    await running;
    coordinator.on('leave', () => 'cut');
    await agent.stop();
    expect(agent.heard('warning')).toMatchObject([{ message: expect.stringContaining('leaving was not heard') }]);
    expect(told(coordinator)).toEqual([]);
    await anAgent(coordinator, { key_dir, handlers: { wait: handler } }).start();
    expect(told(coordinator)).toMatchObject([{ run_id: run, outcome: 'RETURNED' }]);
    await expect.poll(() => readdirSync(join(key_dir, 'outbox'))).toEqual([]);
  });

  test('who is told to stop while it leaves a coordinator alone after failures tells its results at once', async () => {
    const coordinator = await aCoordinator();
    const agent = anAgent(coordinator);
    await agent.start();
    coordinator.on('poll', ({ body }) => (body.results ? 'cut' : undefined));
    const run = coordinator.hand('echo', 1);
    await expect.poll(() => agent.heard('unreachable').at(-1)?.retry_in_ms).toBeGreaterThan(1_000);
    coordinator.off('poll');
    const toldAt = performance.now();
    await agent.stop();
    expect(performance.now() - toldAt).toBeLessThan(1_000);
    expect(agent.heard('reported')).toMatchObject([{ run_id: run, outcome: 'COMPLETED', applied: true }]);
  });

  test('a drain that takes too long returns what is left', async () => {
    const coordinator = await aCoordinator();
    const { handler, running } = untilAborted();
    const agent = anAgent(coordinator, { handlers: { wait: handler }, drain_timeout_ms: 100 });
    await agent.start();
    coordinator.hand('wait');
    await running;
    await agent.drain();
    expect(coordinator.of('leave')).toHaveLength(1);
    expect(told(coordinator)).toEqual([]);
  });

  test('start waits for a coordinator that is not there yet', async () => {
    const coordinator = await aCoordinator();
    const { port } = coordinator;
    const agent = anAgent(coordinator);
    await coordinator.close();
    const started = agent.start();
    await agent.hears('unreachable');
    await coordinator.listen(port);
    await started;
    expect(await coordinator.result(coordinator.hand('echo', 1))).toMatchObject({ outcome: 'COMPLETED' });
  });
});
