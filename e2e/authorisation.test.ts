import { createApiKey } from '@muster/shared/contract/access';
import { createBatch } from '@muster/shared/contract/batches';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { createEnrollmentToken } from '@muster/shared/contract/enrollment';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { putLimit } from '@muster/shared/contract/queue';
import { createSchedule } from '@muster/shared/contract/schedules';
import { SCOPES, type Scope } from '@muster/shared/contract/scopes';
import { createTask } from '@muster/shared/contract/tasks';
import type { ProblemCode } from '@muster/shared/errors';
import { startCoordinator, type TestCoordinator } from '@muster/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkedClient, checkProblem } from './fixtures/checked-client.ts';
import { makeKey, type TestKey } from './fixtures/keys.ts';
import { networkAt } from './fixtures/network.ts';
import { RawAgent } from './fixtures/raw-agent.ts';
import { tableHashes } from './fixtures/tables.ts';

const ALL = Object.entries(ENDPOINTS);
const OWN = SCOPES.filter((scope) => scope !== 'admin');
const READ: Scope[] = ['tasks:read', 'schedules:read', 'agents:read', 'audit:read'];
const WORK: Scope[] = ['tasks:read', 'tasks:write', 'schedules:read', 'schedules:write'];

let coordinator: TestCoordinator;
let owner: TestKey;
let agent: RawAgent;
let otherAgent: RawAgent;
let run_id: string;
const CAPABILITY = 'spare';

/** Everybody who may come, and what their word is good for. `scopes`: of a key, by the endpoint's own. */
interface Caller {
  kind: 'none' | 'unknown' | 'agent' | 'key';
  foreign?: boolean;
  scopes?(scope: Scope): Scope[];
}
const CALLERS: Record<string, Caller> = {
  'nobody in particular': { kind: 'none' },
  'somebody with an unknown key': { kind: 'unknown' },
  'the agent itself': { kind: 'agent' },
  'another agent': { kind: 'agent', foreign: true },
  "an owner's key for just this": { kind: 'key', scopes: (scope) => [scope] },
  "an owner's key for all but this": { kind: 'key', scopes: (scope) => OWN.filter((it) => it !== scope) },
  "an owner's reader": { kind: 'key', scopes: () => READ },
  "an owner's worker": { kind: 'key', scopes: () => WORK },
  "another owner's key for all": { kind: 'key', foreign: true, scopes: () => OWN },
  "another owner's admin": { kind: 'key', foreign: true, scopes: () => ['admin'] },
};

beforeAll(async () => {
  coordinator = await startCoordinator();
  const network = networkAt(coordinator.url, coordinator.adminKey);
  owner = await makeKey(network, { owner: 'acme', scopes: OWN, requests_per_minute: 1_000_000 });
  const { enrollment_token } = await owner.call(createEnrollmentToken, { body: { max_uses: 1_000 } });
  const join = () => RawAgent.register({ url: coordinator.url }, { enrollment_token, capabilities: ['work'] });
  [agent, otherAgent] = [await join(), await join()];
  await owner.call(createTask, { body: { task_type: 'work', input_data: null } });
  ({ run_id } = await agent.take());
  await owner.call(createTask, { body: { task_type: 'work', input_data: null } });
  await otherAgent.fail(await otherAgent.take(), { message: 'no', retryable: false });
  // The run is held however long it all takes: a lease that ends would move rows.
  await coordinator.sql`update presence set lease_expires_at = lease_expires_at + interval '1 day'`;
});
afterAll(() => coordinator.stop());

/** The owner of a limit that there is. */
async function limited(): Promise<string> {
  const params = { scope: 'owner', name: 'acme' } as const;
  await networkAt(coordinator.url, coordinator.adminKey).admin(putLimit, { params, body: { weight: 2 } });
  return params.name;
}

/** One thing of acme's for a path to name; a new one where it may not survive. */
async function nameOf(parameter: string, lasting: boolean): Promise<string> {
  if (parameter === 'run_id') return run_id;
  if (parameter === 'capability') return CAPABILITY;
  if (parameter === 'scope') return 'owner';
  if (parameter === 'name') return limited();
  if (parameter === 'agent_id' && lasting) return agent.agentId;
  const work = { task_type: 'work', capability_required: 'nobody', input_data: null };
  switch (parameter) {
    case 'agent_id': {
      const { enrollment_token } = await owner.call(createEnrollmentToken, { body: {} });
      return (await RawAgent.register({ url: coordinator.url }, { enrollment_token, capabilities: ['x'] })).agentId;
    }
    case 'task_id':
      return (await owner.call(createTask, { body: work })).task_id;
    case 'batch_id':
      return (await owner.call(createBatch, { body: { tasks: [work] } })).batch_id;
    case 'schedule_id':
      return (await owner.call(createSchedule, { body: { ...work, cron_expression: '0 0 1 1 *' } })).schedule_id;
    case 'enrollment_token_id':
      return (await owner.call(createEnrollmentToken, { body: {} })).enrollment_token_id;
    case 'api_key_id':
      // Of the scope its callers have: a key touches none that reaches further.
      return (await owner.call(createApiKey, { body: { name: 'a key', scopes: ['keys:admin'] } })).api_key_id;
    default:
      throw new Error(`nothing to name by ${parameter}`);
  }
}

const keys = new Map<string, Promise<string>>();
function keyFor(caller: Caller, endpoint: Endpoint): Promise<string> {
  const scopes = caller.scopes!(endpoint.scope ?? 'admin');
  const name = JSON.stringify([caller.foreign, scopes]);
  const network = networkAt(coordinator.url, coordinator.adminKey);
  const made =
    keys.get(name) ??
    makeKey(network, { owner: caller.foreign ? 'rival' : 'acme', scopes, requests_per_minute: 1_000_000 }).then(
      (it) => it.api_key,
    );
  keys.set(name, made);
  return made;
}

async function credentialOf(caller: Caller, endpoint: Endpoint): Promise<string | undefined> {
  if (caller.kind === 'none') return undefined;
  if (caller.kind === 'unknown') return `${owner.api_key.slice(0, -1)}_`;
  if (caller.kind === 'agent') return (caller.foreign ? otherAgent : agent).token;
  return keyFor(caller, endpoint);
}

/** What the contract says becomes of a caller; undefined where it may. */
function refusalOf(endpoint: Endpoint, { kind, foreign, scopes }: Caller): ProblemCode | undefined {
  if (endpoint.principals.includes('public')) return undefined;
  if (kind === 'none') return 'unauthenticated';
  if (kind === 'unknown') return 'invalid-api-key';
  if (!endpoint.principals.includes(kind)) return 'insufficient-scope';
  if (kind === 'agent') return foreign && endpoint.path.includes('{agent_id}') ? 'insufficient-scope' : undefined;
  const has = scopes!(endpoint.scope ?? 'admin');
  if (has.includes('admin')) return undefined;
  if (!endpoint.scope || !has.includes(endpoint.scope)) return 'insufficient-scope';
  return foreign && endpoint.ownership === 'path' ? 'not-found' : undefined;
}

const cells = ALL.flatMap(([name, endpoint]) =>
  Object.entries(CALLERS).map(([who, caller]) => ({ name, endpoint, who, caller, code: refusalOf(endpoint, caller) })),
);

/** The path of an endpoint, with what it names made. */
async function pathOf(endpoint: Endpoint, lasting: boolean): Promise<string> {
  let path: string = endpoint.path;
  for (const [, name] of endpoint.path.matchAll(/\{(\w+)\}/g))
    path = path.replace(`{${name}}`, await nameOf(name!, lasting));
  return path;
}

function send(endpoint: Endpoint, path: string, credential: string | undefined, body: string): Promise<Response> {
  return fetch(coordinator.url + path, {
    method: endpoint.method,
    headers: {
      ...(credential ? { authorization: `Bearer ${credential}` } : {}),
      ...(endpoint.body ? { 'content-type': 'application/json' } : {}),
    },
    ...(endpoint.body ? { body } : {}),
  });
}

describe('every endpoint lets in those it says and nobody else', () => {
  test('there are cells of every kind', () => {
    expect(cells.length).toBe(ALL.length * Object.keys(CALLERS).length);
    const codes = new Set(cells.map((cell) => cell.code));
    expect([...codes].sort()).toEqual(
      ['insufficient-scope', 'invalid-api-key', 'not-found', 'unauthenticated', undefined].sort(),
    );
  });

  test.each(ALL)('%s', async (name, endpoint) => {
    const own = cells.filter((cell) => cell.name === name);
    const path = await pathOf(endpoint, true);
    const refused = own.filter(({ code }) => code !== undefined);
    const credentials = await Promise.all(refused.map(({ caller }) => credentialOf(caller, endpoint)));
    const before = await tableHashes(coordinator.sql);
    for (const [n, { code, who }] of refused.entries()) {
      const problem = await checkProblem(await send(endpoint, path, credentials[n], '{}'));
      expect(problem.code, `${name} by ${who}: ${problem.detail}`).toBe(code);
      expect(problem.errors, `${name} by ${who}`).toBeUndefined();
      expect(await tableHashes(coordinator.sql), `${name} by ${who}`).toEqual(before);
    }
    for (const { caller, who } of own.filter((cell) => cell.code === undefined)) {
      const made = await pathOf(endpoint, endpoint.body !== undefined || endpoint.method === 'GET');
      // Whoever is let in is told that this is not a body: nothing more is to be done here.
      const response = await send(endpoint, made, await credentialOf(caller, endpoint), '{"surprise":1}');
      const about = `${name} by ${who}: ${response.status}`;
      if (endpoint.body) expect(response.status, about).toBe(422);
      else expect(response.ok || response.status === 409, about).toBe(true);
      await response.body?.cancel();
    }
  });
});

test('a list shows a caller its own things, and an admin everybody’s', async () => {
  const network = networkAt(coordinator.url, coordinator.adminKey);
  const rival = await makeKey(network, { owner: 'rival', scopes: OWN });
  // A file is of one's own, an admin's too: e2e/schedule-files.
  const lists = ALL.filter(([, it]) => it.ownership === 'list' && it.method === 'GET' && !it.yaml);
  expect(lists.map(([name]) => name)).toEqual(expect.arrayContaining(['listTasks', 'listAgents', 'listAuditLogs']));
  await nameOf('task_id', false);
  await nameOf('schedule_id', false);
  for (const [name, endpoint] of lists) {
    const read = async (credential: string) => {
      const client = checkedClient({ url: coordinator.url, credential });
      const answer = await client(endpoint, {} as never);
      return (endpoint.lines ? answer : (answer as { data: unknown }).data) as { owner?: string }[];
    };
    const [own, foreign, all] = [
      await read(owner.api_key),
      await read(rival.api_key),
      await read(coordinator.adminKey),
    ];
    expect(own.length, name).toBeGreaterThan(0);
    expect(
      own.every((it) => (it.owner ?? 'acme') === 'acme'),
      name,
    ).toBe(true);
    // The rival has made nothing but is itself a key.
    expect(
      foreign.every((it) => it.owner === 'rival'),
      `${name}: ${JSON.stringify(foreign)}`,
    ).toBe(true);
    expect(all.length, name).toBeGreaterThanOrEqual(own.length);
  }
});
