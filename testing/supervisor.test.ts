import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { findProcess } from '@muster/server/platform/embedded-postgres/process';
import { listAgents } from '@muster/shared/contract/agents';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import postgres from 'postgres';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { eventually } from './eventually.ts';
import { TestProcess } from './process.ts';
import { scratchFolder } from './scratch.ts';
import { createSupervisor, type Supervisor } from './supervisor.ts';

let supervisor: Supervisor;
beforeEach(() => {
  supervisor = createSupervisor();
});
afterEach(() => supervisor.stop());

/** A program that says its number once a while, and leaves with code 7 when asked to. */
const PROGRAM = `
  process.on('SIGTERM', () => { console.log('leaving'); process.exit(7); });
  console.log(JSON.stringify({ msg: 'ready', pid: process.pid }));
  let n = 0;
  setInterval(() => console.log(JSON.stringify({ msg: 'count', n: n += 1 })), 20);`;

const node = (program: string) => ({ name: 'sample', command: process.execPath, args: ['-e', program] });
const ready = ({ msg }: Record<string, unknown>) => msg === 'ready';
const isRunning = (pid: number) => findProcess(pid) !== undefined;

describe('a process', () => {
  test('is ready when it says so, and what it said can be waited for', async () => {
    const sample = await supervisor.process({ ...node(PROGRAM), ready });
    expect(sample.readyLine).toEqual({ msg: 'ready', pid: sample.pid });
    expect(await sample.waitForLine(({ n }) => n === 3)).toEqual({ msg: 'count', n: 3 });
    expect(sample.tail()).toContain('"n":3');
  });

  test('ends in order on stop, with its code and its last words', async () => {
    const sample = await supervisor.process({ ...node(PROGRAM), ready });
    expect(await sample.stop()).toBe(7);
    expect(await sample.waitForLine(({ text }) => text === 'leaving')).toBeDefined();
    expect([sample.running, isRunning(sample.pid)]).toEqual([false, false]);
  });

  test('that does not listen is killed on stop, and so is what it started', async () => {
    const stubborn = `
      process.on('SIGTERM', () => {});
      const child = require('child_process').spawn('sleep', ['1000'], { stdio: 'inherit' });
      console.log(JSON.stringify({ msg: 'ready', child: child.pid }));
      setInterval(() => {}, 1000);`;
    const sample = await supervisor.process({ ...node(stubborn), ready });
    expect(await sample.stop({ graceMs: 100 })).toBeNull();
    await eventually(() => !isRunning(sample.readyLine.child as number));
  });

  test('killed and started again is another process under the same hand', async () => {
    const sample = await supervisor.process({ ...node(PROGRAM), ready });
    const first = sample.pid;
    await sample.restart('SIGKILL');
    expect(sample.pid).not.toBe(first);
    expect(sample.readyLine.pid).toBe(sample.pid);
  });

  test('frozen says nothing more until it is resumed', async () => {
    const sample = await supervisor.process({ ...node(PROGRAM), ready });
    sample.freeze();
    let before = '';
    // What it had said by then has come in.
    await eventually(
      () => {
        const was = before;
        before = sample.tail();
        return was === before;
      },
      { everyMs: 100 },
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(sample.tail()).toBe(before);
    sample.resume();
    await eventually(() => expect(sample.tail()).not.toBe(before));
  });

  test('that ends before it is ready fails the start with its output', async () => {
    const sample = supervisor.process({ ...node(`console.error('the reason'); process.exit(3)`), ready });
    await expect(sample).rejects.toThrow(/sample: it ended without saying so\. Its last output:\nthe reason/);
  });

  test('that is not ready in time fails the start and is ended', async () => {
    const sample = new TestProcess({ ...node('setInterval(() => {}, 1000)'), ready, readyMs: 200 });
    await expect(sample.start()).rejects.toThrow(/not say so within 200 ms/);
    expect(isRunning(sample.pid)).toBe(false);
  });
});

describe('a Postgres of one’s own', () => {
  test('keeps what it acknowledged through SIGKILL, on the same URL', async () => {
    const server = await supervisor.postgres();
    const url = server.url;
    const sql = postgres(url, { max: 1, onnotice: () => {}, backoff: () => 0.05 });
    await sql`create table kept as select 42 as answer`;
    server.kill();
    await expect(sql`select 1`).rejects.toThrow();
    await server.restart();
    expect(server.url).toBe(url);
    expect(await eventually(async () => (await sql`select answer from kept`)[0]!.answer)).toBe(42);
    await sql.end({ timeout: 1 });
  });

  test('frozen answers nothing and loses nothing', async () => {
    const server = await supervisor.postgres();
    const sql = postgres(server.url, { max: 1 });
    await sql`select 1`;
    server.freeze();
    const answer = sql`select 2 as two`.then((rows) => rows[0]!.two as number);
    expect(await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 150, 'silence'))])).toBe('silence');
    server.resume();
    expect(await answer).toBe(2);
    await sql.end({ timeout: 1 });
  });
});

describe('the product', () => {
  test('a coordinator killed and started again answers at the same address, and its agent finds it there', async () => {
    const coordinator = await supervisor.coordinator();
    const { enrollment_token } = await coordinator.admin(createEnrollmentToken, { body: {} });
    const agent = await supervisor.agent({ url: coordinator.url, enrollment_token });
    await coordinator.restart('SIGKILL');
    expect(coordinator.readyLine.url).toBe(coordinator.url);
    await eventually(async () => {
      const { data } = await coordinator.admin(listAgents, {});
      expect(data).toMatchObject([{ agent_id: agent.readyLine.agent_id, status: 'ACTIVE' }]);
    });
    expect(await agent.stop()).toBe(0);
  });

  test('a coordinator on its own Postgres drains and stops it at a Ctrl-C', async () => {
    const coordinator = await supervisor.coordinator({ env: { DATABASE_URL: '' } });
    const { pid } = await coordinator.waitForLine(({ msg }) => msg === 'embedded Postgres runs');
    expect((await fetch(`${coordinator.url}/readyz`)).status).toBe(200);
    coordinator.kill('SIGINT', { group: true });
    expect(await coordinator.ended()).toBe(0);
    expect(isRunning(pid as number)).toBe(false);
  });
});

test('several coordinators are refused an empty DATABASE_URL: it would be a database each', async () => {
  const apart = supervisor.coordinators(2, { env: { DATABASE_URL: '' } });
  await expect(apart).rejects.toThrow(/one database.*empty DATABASE_URL/);
});

test('nothing is left behind when the test process itself is killed', async () => {
  const place = scratchFolder('left-behind');
  const program = `
    const { createSupervisor } = await import(${JSON.stringify(fileURLToPath(new URL('supervisor.ts', import.meta.url)))});
    const supervisor = createSupervisor();
    const server = await supervisor.postgres();
    const sample = await supervisor.process({ name: 'sample', command: 'sh', args: ['-c', 'echo ready; exec sleep 1000'], ready: () => true });
    console.log(JSON.stringify([server.pid, sample.pid]));`;
  const args = ['--import', 'tsx', '--conditions=development', '--input-type=module', '-e', program];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, MUSTER_TEST_SCRATCH: place.path },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const pids: number[] = await new Promise((resolve, reject) => {
    child.stdout.once('data', (chunk) => resolve(JSON.parse(String(chunk))));
    child.once('exit', (code) => reject(new Error(`ended with ${code}`)));
  });
  expect(pids.map(isRunning)).toEqual([true, true]);
  expect(readdirSync(place.path)).not.toEqual([]);
  child.kill('SIGKILL');
  await eventually(() => expect(pids.map(isRunning)).toEqual([false, false]));
  await eventually(() => expect(readdirSync(place.path)).toEqual([]));
  place.remove();
});
