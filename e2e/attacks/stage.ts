import { connect } from 'node:net';
import { createBatch } from '@muster/shared/contract/batches';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { createSchedule } from '@muster/shared/contract/schedules';
import { SCOPES } from '@muster/shared/contract/scopes';
import { createTask } from '@muster/shared/contract/tasks';
import type { ProblemCode } from '@muster/shared/errors';
import { startCoordinator, type TestCoordinator } from '@muster/testing';
import { expect, test } from 'vitest';
import { makeKey, type TestKey } from '../fixtures/keys.ts';
import { type Network, networkAt } from '../fixtures/network.ts';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { tableHashes } from '../fixtures/tables.ts';

/** A network with something of everything in it, for attackers to be let loose on. */
export interface Stage extends Network {
  coordinator: TestCoordinator;
  /** An owner's key for everything but administration, and its agent, which holds a run. */
  owner: TestKey;
  agent: RawAgent;
  run: { run_id: string; fence: number };
  task_id: string;
  batch_id: string;
  schedule_id: string;
  /** By which the owner's agents come in. */
  enrollment_token_id: string;
  enrollment_token: string;
  /** Another owner's key for the same, and its agent. */
  rival: TestKey;
  rivalAgent: RawAgent;
  /** Words that no answer may hold: keys, tokens. */
  secrets: string[];
}

/** What came back, whatever it was sent by. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** One attack: what is sent, and what is to become of it. */
export interface Attack {
  id: string;
  what: string;
  send(stage: Stage): Promise<Answer>;
  status: number | readonly number[];
  /** The problem code; none where the answer need not be a document (a connection that is closed is status 0). */
  code?: ProblemCode | readonly ProblemCode[];
  /** What else must hold afterwards; that no row has changed is looked at for all. */
  after?(stage: Stage): Promise<void>;
  /** The attack is on what may change: `after` says what must hold instead. Or these tables alone may. */
  changes?: true | readonly string[];
}

const SCOPES_OF_AN_OWNER = SCOPES.filter((scope) => scope !== 'admin');

export async function setStage(options?: Parameters<typeof startCoordinator>[0]): Promise<Stage> {
  const coordinator = await startCoordinator(options);
  const network = networkAt(coordinator.url, coordinator.adminKey);
  const side = async (owner: string) => {
    const key = await makeKey(network, { owner, scopes: SCOPES_OF_AN_OWNER, requests_per_minute: 1_000_000 });
    const token = await key.call(createEnrollmentToken, { body: { max_uses: 100_000, ttl_seconds: 86_400 } });
    const { enrollment_token, enrollment_token_id } = token;
    const now = () => coordinator.clock.now();
    const agent = await RawAgent.register(
      { url: coordinator.url, now },
      { enrollment_token, capabilities: ['work'], slots: 2 },
    );
    return { key, agent, enrollment_token, enrollment_token_id };
  };
  const [owner, rival] = [await side('acme'), await side('rival')];
  const work = { task_type: 'work', input_data: { private: 'canary-of-the-input' } };
  const { task_id } = await owner.key.call(createTask, { body: work });
  const run = await owner.agent.take();
  const { batch_id } = await owner.key.call(createBatch, {
    body: { tasks: [{ ...work, capability_required: 'nobody' }] },
  });
  const { schedule_id } = await owner.key.call(createSchedule, { body: { ...work, cron_expression: '0 0 1 1 *' } });
  // However long the attacks take, what the agents hold is not taken back meanwhile.
  await coordinator.sql`update presence set lease_expires_at = lease_expires_at + interval '1 day'`;
  return {
    ...network,
    coordinator,
    owner: owner.key,
    agent: owner.agent,
    run,
    task_id,
    batch_id,
    schedule_id,
    enrollment_token_id: owner.enrollment_token_id,
    enrollment_token: owner.enrollment_token,
    rival: rival.key,
    rivalAgent: rival.agent,
    secrets: [
      ...[coordinator.adminKey, owner.key.api_key, rival.key.api_key],
      ...[owner.enrollment_token, rival.enrollment_token, owner.agent.token, rival.agent.token],
    ],
  };
}

/** Sends one request by fetch. */
export async function ask(url: string, init?: RequestInit): Promise<Answer> {
  const response = await fetch(url, init);
  return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
}

/** Posts JSON. */
export const post = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  ask(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

/** Writes bytes to the coordinator's socket, as no client would; what was answered until it was closed, or for `forMs`. */
export function shout(url: string, bytes: string | Uint8Array, forMs = 3_000): Promise<Answer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(readAnswer(Buffer.concat(chunks)));
    };
    const timer = setTimeout(end, forMs);
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      if (isWhole(Buffer.concat(chunks).toString('latin1'))) end();
    });
    socket.on('close', end);
    // A reset is an answer too: none.
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNREFUSED' ? reject(error) : end()));
    socket.on('connect', () => socket.write(bytes));
  });
}

function isWhole(text: string): boolean {
  const at = text.indexOf('\r\n\r\n');
  const length = /^content-length: (\d+)/im.exec(text.slice(0, at))?.[1];
  return at >= 0 && length !== undefined && text.length >= at + 4 + Number(length);
}

function readAnswer(bytes: Buffer): Answer {
  const text = bytes.toString('utf8');
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [line = '', ...fields] = head.split('\r\n');
  const headers = fields.map((field) => {
    const at = field.indexOf(':');
    return [field.slice(0, at).toLowerCase(), field.slice(at + 1).trim()];
  });
  return {
    status: Number(/^HTTP\/1\.\d (\d{3})/.exec(line)?.[1] ?? 0),
    headers: Object.fromEntries(headers),
    body: rest.join('\r\n\r\n'),
  };
}

/** The longest answer an attacker may get, in bytes. */
const LONGEST = 4_096;
/** What stands in a stack, in a statement, or in a path of ours. */
const INSIDES = /\bat .+:\d+:\d+|node_modules|\/work\/|\.ts:\d|select |insert into|PostgresError|syntax error at/i;

/** One test per attack: refused as it says, without a change, a secret, or a look inside. */
export function attacks(stage: () => Stage, table: readonly Attack[]): void {
  test.each(table.map((attack) => [`${attack.id} ${attack.what}`, attack] as const))('%s', async (_, attack) => {
    const { coordinator, secrets } = stage();
    const before = await tableHashes(coordinator.sql);
    const answer = await attack.send(stage());
    const about = `${answer.status} ${answer.body.slice(0, 400)}`;
    expect(answer.status, about).toBeLessThan(500);
    expect([attack.status].flat(), about).toContain(answer.status);
    if (answer.status === 401) expect(answer.headers['www-authenticate'], about).toBeTruthy();
    if (attack.code) {
      expect(answer.headers['content-type'], about).toBe('application/problem+json');
      expect([attack.code].flat(), about).toContain(JSON.parse(answer.body).code);
    }
    expect(Buffer.byteLength(answer.body)).toBeLessThanOrEqual(LONGEST);
    expect(answer.body).not.toMatch(INSIDES);
    for (const secret of [...secrets, 'canary-of-the-input'])
      expect(answer.body.includes(secret), 'a secret').toBe(false);
    if (attack.changes !== true) {
      const others = Object.fromEntries((attack.changes ?? []).map((name) => [name, before[name]]));
      expect({ ...(await tableHashes(coordinator.sql)), ...others }).toEqual(before);
    }
    await attack.after?.(stage());
  });
}
