import { getAgent } from '@muster/shared/contract/agents';
import { listSchedules } from '@muster/shared/contract/schedules';
import { listTasks } from '@muster/shared/contract/tasks';
import { newKey } from '@muster/testing/jwt';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { RawAgent } from '../fixtures/raw-agent.ts';
import { type Forged, forge, numbered, pointersIn, read } from './requests.ts';
import { type Answer, type Attack, attacks, type Stage, setStage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage({ env: { MUSTER_BEHIND_PROXY: 'true' } });
});
afterAll(() => stage.coordinator.stop());

/** A good body of an endpoint, which an attack adds to. */
interface Target {
  what: string;
  request(stage: Stage): Forged & { body: Record<string, unknown> };
  /** What somebody would like to set, by the pointer that must be named. */
  wishes: Record<string, unknown>;
}

const ID = 'task_01h455vb4pex5vsknk084sn02q';
const work = { task_type: 'never', input_data: null };

const TARGETS: Target[] = [
  {
    what: 'a new task',
    request: () => ({ path: '/aitp/tasks', body: work }),
    wishes: {
      task_id: ID,
      owner: 'rival',
      status: 'COMPLETED',
      result_data: { forged: true },
      attempt: 0,
      fence: 1,
      agent_id: 'agent_01h455vb4pex5vsknk084sn02q',
      class_id: 1,
      rank: '1970-01-01T00:00:00Z',
      schedule_id: 'sched_01h455vb4pex5vsknk084sn02q',
      dead_letter: true,
      verified: true,
      trust_score: 1,
      created_at: '1970-01-01T00:00:00Z',
      finished_at: '1970-01-01T00:00:00Z',
      traceparent: 'x',
      role: 'admin',
      tenant: 'rival',
      Owner: 'rival',
      'owner ': 'rival',
      оwner: 'rival',
      'task_type\u200b': 'other',
      'constructor.prototype.owner': 'rival',
      constructor: { prototype: { polluted: true } },
    },
  },
  {
    what: 'a new schedule',
    request: () => ({ path: '/aitp/tasks/schedule', body: { ...work, cron_expression: '0 0 1 1 *' } }),
    wishes: {
      schedule_id: 'sched_01h455vb4pex5vsknk084sn02q',
      owner: 'rival',
      status: 'DELETED',
      next_run_at: '2026-01-01T00:00:00Z',
      last_run_at: null,
      total_runs: 1_000,
      failed_runs: 0,
      version: 7,
      pause_note: 'x',
      run_at: '2026-01-01T00:00:00Z',
      created_at: '1970-01-01T00:00:00Z',
    },
  },
  {
    what: 'a new API key',
    request: () => ({ path: '/ains/api-keys', body: { name: 'a key', scopes: ['tasks:read'] } }),
    wishes: {
      api_key_id: 'key_01h455vb4pex5vsknk084sn02q',
      api_key: 'mk_known',
      secret_hash: 'ab'.repeat(32),
      uses: -1_000,
      revoked_at: null,
      created_at: '1970-01-01T00:00:00Z',
      admin: true,
    },
  },
  {
    what: 'a change of an API key',
    request: ({ owner }) => ({ method: 'PATCH', path: `/ains/api-keys/${owner.api_key_id}`, body: { name: 'mine' } }),
    wishes: { owner: 'rival', api_key: 'mk_known', secret_hash: 'ab'.repeat(32), revoked_at: null, uses: 0 },
  },
  {
    what: 'the rotation of an API key',
    request: ({ owner }) => ({ path: `/ains/api-keys/${owner.api_key_id}/rotate`, body: {} }),
    wishes: { api_key: 'mk_known', secret_hash: 'ab'.repeat(32), scopes: ['admin'] },
  },
  {
    what: 'a new enrolment token',
    request: () => ({ path: '/ains/enrollment-tokens', body: {} }),
    wishes: {
      enrollment_token_id: 'enroll_01h455vb4pex5vsknk084sn02q',
      enrollment_token: 'known',
      uses: -1_000,
      revoked_at: null,
      expires_at: '2999-01-01T00:00:00Z',
      trust_score: 1,
    },
  },
  {
    what: "an agent's change of itself",
    request: ({ agent }) => ({
      as: 'agent',
      method: 'PATCH',
      path: `/ains/agents/${agent.agentId}`,
      body: { display_name: 'me' },
    }),
    wishes: {
      agent_id: 'agent_01h455vb4pex5vsknk084sn02q',
      owner: 'rival',
      serves: 'all',
      trust_score: 1,
      standing: 'TRUSTED',
      mode: 'OPEN',
      status: 'ACTIVE',
      health: 'OK',
      capabilities: ['root'],
      boot_id: 'boot_01h455vb4pex5vsknk084sn02q',
      slots_used: 0,
      token_epoch: 0,
      max_slots: 10_000,
      public_jwk: newKey(),
      lease_expires_at: '2999-01-01T00:00:00Z',
    },
  },
  {
    what: 'what an agent can do',
    request: ({ agent }) => ({
      as: 'agent',
      method: 'PUT',
      path: `/ains/agents/${agent.agentId}/capabilities`,
      body: { capabilities: ['work'] },
    }),
    wishes: { agent_id: 'agent_01h455vb4pex5vsknk084sn02q', enrolled: ['root'], trust_score: 1 },
  },
  {
    what: 'a heartbeat',
    request: ({ agent }) => ({
      as: 'agent',
      path: `/ains/agents/${agent.agentId}/heartbeat`,
      body: { boot_id: agent.bootId, status: 'ACTIVE', slots_free: 1, runs: [] },
    }),
    wishes: {
      agent_id: 'agent_01h455vb4pex5vsknk084sn02q',
      trust_score: 1,
      lease_expires_at: '2999-01-01T00:00:00Z',
      server_time: '2999-01-01T00:00:00Z',
      mode: 'OPEN',
      drain: false,
    },
  },
  {
    what: 'a result',
    request: ({ run }) => ({
      as: 'agent',
      path: `/aitp/runs/${run.run_id}/result`,
      body: { fence: run.fence, outcome: 'FAILED' },
    }),
    wishes: {
      task_status: 'COMPLETED',
      status: 'COMPLETED',
      agent_id: 'agent_01h455vb4pex5vsknk084sn02q',
      attempt: 0,
      fault: 'system',
      trust_delta: 1,
      verdict: 'AGREED',
      evidence: { completed: 1_000 },
      fold_seq: 1,
      final: true,
      finished_at: '1970-01-01T00:00:00Z',
    },
  },
  {
    what: 'progress',
    request: ({ run }) => ({
      as: 'agent',
      path: `/aitp/runs/${run.run_id}/progress`,
      body: { fence: run.fence, percent: 1 },
    }),
    wishes: { started_at: '1970-01-01T00:00:00Z', status: 'COMPLETED', timeout_seconds: 604_800 },
  },
  {
    what: 'a leave',
    request: ({ agent }) => ({
      as: 'agent',
      path: `/ains/agents/${agent.agentId}/leave`,
      body: { boot_id: agent.bootId },
    }),
    wishes: { requeue: false, agent_id: 'agent_01h455vb4pex5vsknk084sn02q' },
  },
  {
    what: 'a cancel',
    request: ({ task_id }) => ({ path: `/aitp/tasks/${task_id}/cancel`, body: {} }),
    wishes: { status: 'COMPLETED', actor: 'admin' },
  },
  {
    what: 'a pause',
    request: ({ schedule_id }) => ({ path: `/aitp/tasks/schedule/${schedule_id}/pause`, body: {} }),
    wishes: { status: 'ACTIVE', next_run_at: '1970-01-01T00:00:00Z' },
  },
];

const UNKNOWN = TARGETS.flatMap(({ what, request, wishes }) =>
  Object.entries(wishes).map(
    ([name, value]): Omit<Attack, 'id'> => ({
      what: `${what} with ${name}`,
      async send(stage) {
        const { body, ...rest } = request(stage);
        const answer = await forge(stage, { ...rest, body: { ...body, [name]: value } });
        expect(pointersIn(answer)).toEqual([`#/${name}`]);
        return answer;
      },
      status: 422,
      code: 'validation-failed',
    }),
  ),
);

/** Deeper in a body, or by a shape that is not the one meant. */
const nested = (what: string, pointer: string, request: (stage: Stage) => Forged): Omit<Attack, 'id'> => ({
  what,
  async send(stage) {
    const answer = await forge(stage, request(stage));
    expect(pointersIn(answer)).toContain(pointer);
    return answer;
  },
  status: 422,
  code: 'validation-failed',
});
const poll = ({ agent }: Stage, body: object): Forged => ({
  as: 'agent',
  path: `/ains/agents/${agent.agentId}/poll`,
  body: { boot_id: agent.bootId, slots: 1, wait_ms: 0, ...body },
});

const SHAPES = [
  nested('a result in a poll that says what the task is now', '#/results/0/task_status', (stage) =>
    poll(stage, { results: [{ ...stage.run, outcome: 'COMPLETED', task_status: 'COMPLETED' }] }),
  ),
  nested('a result in a poll for another agent', '#/results/0/agent_id', (stage) =>
    poll(stage, { results: [{ ...stage.run, outcome: 'COMPLETED', agent_id: stage.rivalAgent.agentId }] }),
  ),
  nested('an error that says how it is to be judged', '#/error/trust_delta', ({ run }) => ({
    as: 'agent',
    path: `/aitp/runs/${run.run_id}/result`,
    body: { fence: run.fence, outcome: 'FAILED', error: { message: 'x', trust_delta: 0 } },
  })),
  nested('a fault that only the coordinator finds', '#/error/fault', ({ run }) => ({
    as: 'agent',
    path: `/aitp/runs/${run.run_id}/result`,
    body: { fence: run.fence, outcome: 'FAILED', error: { message: 'x', fault: 'system' } },
  })),
  nested('an outcome that only the coordinator finds', '#/outcome', ({ run }) => ({
    as: 'agent',
    path: `/aitp/runs/${run.run_id}/result`,
    body: { fence: run.fence, outcome: 'LOST' },
  })),
  nested('a run in a heartbeat with an attempt', '#/runs/0/attempt', ({ agent, run }) => ({
    as: 'agent',
    path: `/ains/agents/${agent.agentId}/heartbeat`,
    body: {
      boot_id: agent.bootId,
      status: 'ACTIVE',
      slots_free: 1,
      runs: [{ run_id: run.run_id, fence: run.fence, attempt: 9 }],
    },
  })),
  nested('progress in a heartbeat with a start of its own', '#/runs/0/progress/started_at', ({ agent, run }) => ({
    as: 'agent',
    path: `/ains/agents/${agent.agentId}/heartbeat`,
    body: {
      boot_id: agent.bootId,
      status: 'ACTIVE',
      slots_free: 1,
      runs: [{ run_id: run.run_id, fence: run.fence, progress: { started_at: '1970-01-01T00:00:00Z' } }],
    },
  })),
  nested('a status that an agent cannot have by its own word', '#/status', ({ agent }) => ({
    as: 'agent',
    path: `/ains/agents/${agent.agentId}/heartbeat`,
    body: { boot_id: agent.bootId, status: 'TRUSTED', slots_free: 1, runs: [] },
  })),
  nested('a task in an envelope', '#/task', () => ({
    path: '/aitp/tasks',
    body: { task: { ...work, owner: 'rival' } },
  })),
  nested('a task in a list', '#', () => ({ path: '/aitp/tasks', body: [{ ...work, owner: 'rival' }] })),
  nested('a PATCH that is a JSON Patch', '#', ({ agent }) => ({
    as: 'agent',
    method: 'PATCH',
    path: `/ains/agents/${agent.agentId}`,
    body: [{ op: 'replace', path: '/owner', value: 'rival' }],
  })),
  nested('a field that stands twice, once in a form that is escaped', '#/owner', () => ({
    path: '/aitp/tasks',
    body: '{"task_type":"never","input_data":null,"\\u006fwner":"rival"}',
  })),
  nested('__proto__ as a field', '#/__proto__', () => ({
    path: '/aitp/tasks',
    body: '{"task_type":"never","input_data":null,"__proto__":{"owner":"rival"}}',
  })),
  nested('a field of the body that stands in the query of a list', '#/query/role', () => ({
    path: '/aitp/tasks?role=admin',
  })),
];

/** What is a field, but with a value that is beyond the caller. */
const beyond = (what: string, request: (stage: Stage) => Forged): Omit<Attack, 'id'> => ({
  what,
  send: (stage) => forge(stage, request(stage)),
  status: 403,
  code: 'insufficient-scope',
});
const own = ({ agent }: Stage) => `/ains/agents/${agent.agentId}`;

const BEYOND = [
  beyond('a key for another owner', () => ({
    path: '/ains/api-keys',
    body: { name: 'x', scopes: ['tasks:read'], owner: 'rival' },
  })),
  beyond('a key that is an admin', () => ({ path: '/ains/api-keys', body: { name: 'x', scopes: ['admin'] } })),
  beyond('a key that makes itself an admin', ({ owner }) => ({
    method: 'PATCH',
    path: `/ains/api-keys/${owner.api_key_id}`,
    body: { scopes: ['admin'] },
  })),
  beyond('a key that allows itself more requests', ({ owner }) => ({
    method: 'PATCH',
    path: `/ains/api-keys/${owner.api_key_id}`,
    body: { requests_per_minute: 10_000_000 },
  })),
  beyond('an enrolment token for another owner', () => ({ path: '/ains/enrollment-tokens', body: { owner: 'rival' } })),
  beyond('an enrolment token for the tasks of everybody', () => ({
    path: '/ains/enrollment-tokens',
    body: { serves: 'all' },
  })),
];

async function register(stage: Stage, claims: object): Promise<Answer> {
  const { enrollment_token } = read(
    await forge(stage, { path: '/ains/enrollment-tokens', body: { capabilities: ['work'], max_slots: 2 } }),
  ) as { enrollment_token: string };
  const agent = new RawAgent({ url: stage.url, now: () => stage.coordinator.clock.now() });
  const registration = await agent.registrationOf({ enrollment_token, capabilities: ['work'] }, { claims });
  return forge(stage, { as: 'nobody', path: '/ains/agents', body: { registration } });
}

/** The token it is tried with is made; no agent is. */
async function noNewAgent({ coordinator }: Stage): Promise<void> {
  const [{ count } = { count: '' }] = await coordinator.sql<{ count: string }[]>`select count(*) from agents`;
  expect(Number(count)).toBe(2);
}

const CLAIMS = Object.entries({
  agent_id: 'agent_01h455vb4pex5vsknk084sn02q',
  owner: 'rival',
  serves: 'all',
  trust_score: 1,
  mode: 'OPEN',
  max_slots: 10_000,
  created_at: '1970-01-01T00:00:00Z',
}).map(
  ([name, value]): Omit<Attack, 'id'> => ({
    what: `a registration that claims ${name}`,
    send: async (stage) => {
      const answer = await register(stage, { [name]: value });
      expect(pointersIn(answer)).toEqual([`#/claims/${name}`]);
      return answer;
    },
    status: 422,
    code: 'validation-failed',
    changes: true,
    after: noNewAgent,
  }),
);

const ENROLMENT = [
  { what: 'a registration with more slots than enrolled', claims: { slots: 3 } },
  { what: 'a registration with a capability that was not enrolled', claims: { capabilities: ['work', 'root'] } },
  { what: 'a registration with a version of what was not enrolled', claims: { capabilities: ['root:v1'] } },
].map(
  ({ what, claims }): Omit<Attack, 'id'> => ({
    what,
    send: (stage) => register(stage, claims),
    status: 403,
    code: 'insufficient-scope',
    changes: true,
    after: noNewAgent,
  }),
);

/** Words in places nobody reads: the request is done as if they were not there. */
const INERT: Omit<Attack, 'id'>[] = [
  ...Object.entries<Forged>({
    'the query': { path: '/aitp/tasks?owner=rival&status=COMPLETED' },
    headers: {
      path: '/aitp/tasks',
      headers: { 'x-owner': 'rival', 'x-forwarded-user': 'admin', 'x-muster-owner': 'rival' },
    },
    'a cookie': { path: '/aitp/tasks', headers: { cookie: 'owner=rival; admin=true' } },
  }).map(([where, request], n) => ({
    what: `a new task with an owner in ${where}`,
    send: (stage: Stage) => forge(stage, { ...request, method: 'POST', body: { ...work, task_type: `inert-${n}` } }),
    status: 201,
    changes: true as const,
    async after({ owner, rival }: Stage) {
      const query = { task_type: `inert-${n}` };
      const { data } = await owner.call(listTasks, { query });
      expect(data).toMatchObject([{ owner: 'acme', status: 'PENDING', attempt: 0 }]);
      expect((await rival.call(listTasks, { query })).data).toEqual([]);
    },
  })),
  {
    what: 'metadata with __proto__ and constructor',
    send: (stage) =>
      forge(stage, {
        path: '/aitp/tasks',
        body: '{"task_type":"proto","input_data":{"__proto__":{"polluted":1}},"metadata":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}',
      }),
    status: 201,
    changes: true,
    async after({ owner }) {
      const { data } = await owner.call(listTasks, { query: { task_type: 'proto' } });
      const names = Object.keys(data[0]!.metadata as object).sort();
      expect(names).toEqual(['__proto__', 'constructor']);
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    },
  },
  {
    what: 'a new schedule whose input is another schedule',
    send: (stage) =>
      forge(stage, {
        path: '/aitp/tasks/schedule',
        body: {
          task_type: 'nested',
          input_data: { owner: 'rival', status: 'DELETED' },
          metadata: { owner: 'rival', next_run_at: '1970-01-01T00:00:00Z' },
          cron_expression: '0 0 1 1 *',
        },
      }),
    status: 201,
    changes: true,
    async after({ owner }) {
      const { data } = await owner.call(listSchedules, { query: { task_type: 'nested' } });
      expect(data).toMatchObject([{ owner: 'acme', status: 'ACTIVE', total_runs: 0 }]);
    },
  },
  {
    what: 'labels with the names of columns and of JavaScript',
    send: (stage) =>
      forge(stage, {
        as: 'agent',
        method: 'PATCH',
        path: own(stage),
        body: '{"labels":{"owner":"rival","trust_score":"1","constructor":"x","__proto__":"y","toString":"z"}}',
      }),
    status: 200,
    changes: true,
    async after({ owner, agent }) {
      const it = await owner.call(getAgent, { params: { agent_id: agent.agentId } });
      expect(it).toMatchObject({ owner: 'acme', trust_score: 0.5 });
      // The schema's reader leaves `__proto__` out.
      expect(Object.keys(it.labels).sort()).toEqual(['constructor', 'owner', 'toString', 'trust_score']);
      expect(Object.getPrototypeOf(it.labels)).toBe(Object.prototype);
    },
  },
  {
    what: 'a verb that takes no body, with one',
    send: (stage) => forge(stage, { path: `${own(stage)}/cordon`, body: { mode: 'REVOKED', owner: 'rival' } }),
    status: 200,
    changes: true,
    async after({ owner, agent }) {
      const it = await owner.call(getAgent, { params: { agent_id: agent.agentId } });
      expect(it).toMatchObject({ owner: 'acme', mode: 'CORDONED' });
    },
  },
];

describe('nobody sets what is not theirs to set', () => {
  attacks(() => stage, numbered('F', [...UNKNOWN, ...SHAPES, ...BEYOND, ...CLAIMS, ...ENROLMENT, ...INERT]));
});
