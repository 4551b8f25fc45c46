import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { startNetwork } from '../fixtures/network.ts';

/** Whoever writes the host in capitals is answered the long way (server/platform/http-direct.ts). */
const LONG_WAY = 'LOCALHOST';
const TASK = '{"task_type":"work","input_data":1}';
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS'];
const BODIES = [
  '',
  '[]',
  'null',
  '{"task_type":"work"}',
  '{"task_type":"work","input_data":1,"__proto__":{"priority":9}}',
  '{"task_type":"work","input_data":1,"constructor":1}',
  '{"task_type":"work","task_type":"x","input_data":1}',
  '{"task_type":"work","input_data":1,"priority":"5"}',
  '{"task_type":"work","input_data":1,"tags":["a","a"]}',
  '{"task_type":"work","input_data":1,"run_at":null}',
  '\ufeff{"task_type":"work","input_data":1}',
];

/** What is the same whenever and whichever way it is answered: the status, headers that say something, and the body. */
const gist = (answer: string): string =>
  answer
    .replace(/^(date|x-request-id|connection|keep-alive|transfer-encoding|content-length): .*\r\n/gim, '')
    .replace(/(req|task)_\w+/g, '$1')
    .replace(/"data":\[.*/, '"data"')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'then')
    .replace(/\r\n[\da-f]+\r\n/g, '\r\n')
    .split('\r\n')
    .sort()
    .join('\n');

test('however a request is written, the short way answers it as the long one does', async () => {
  const network = await startNetwork();
  const agent = await network.rawAgent();
  const task_id = await network.submit({ task_type: 'other', input_data: null });
  const host = new URL(network.url).host;
  const sent = async (text: string): Promise<string> => {
    const socket = connect(Number(host.split(':')[1]), '127.0.0.1');
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk;
    });
    socket.write(text);
    await once(socket, 'close');
    return heard;
  };
  const paths = [
    '/aitp/tasks',
    '//aitp/tasks',
    '/aitp//tasks',
    '/aitp/tasks/',
    '/aitp/tasks%2f',
    '/AITP/tasks',
    '/aitp/./tasks',
  ];
  paths.push(
    '/aitp/tasks?',
    '/aitp/tasks?limit=1',
    '/aitp/%74asks',
    `http://${host}/aitp/tasks`,
    '/__proto__',
    '/aitp/tasks/constructor',
  );
  paths.push(
    `/aitp/tasks/${task_id}`,
    `/aitp/tasks/${task_id.toUpperCase()}`,
    `/ains/agents/${agent.agentId}`,
    '/livez',
  );
  const json = (body: string) =>
    `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const chunked = `Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n${TASK.slice(0, 5)}\r\n${(TASK.length - 5).toString(16)}\r\n${TASK.slice(5)}\r\n0\r\n\r\n`;
  const said: [line: string, rest: string][] = [
    ...paths.flatMap((path) => METHODS.map((method): [string, string] => [`${method} ${path}`, '\r\n'])),
    ...BODIES.map((body): [string, string] => ['POST /aitp/tasks', json(body)]),
    ['GET /aitp/tasks', json(TASK)],
    ['POST /aitp/tasks', chunked],
    ['POST /aitp/tasks', `X-HTTP-Method-Override: GET\r\n${json(TASK)}`],
    ['POST /aitp/tasks', `Expect: 100-continue\r\n${json(TASK)}`],
    ['POST /aitp/tasks', `Content-Encoding: gzip\r\n${json(TASK)}`],
    ['POST /aitp/tasks', `Content-Length: ${TASK.length}\r\n\r\n${TASK}`],
    ['POST /aitp/tasks', 'Content-Type: application/json\r\nContent-Length: 5000000\r\n\r\n{'],
  ];
  const credentials = ['', `Authorization: Bearer ${network.adminKey}\r\n`, `Authorization: Bearer ${agent.token}\r\n`];
  const statuses = new Set<string>();
  for (const credential of credentials)
    await Promise.all(
      said.map(async ([line, rest]) => {
        const asked = (name: string) =>
          sent(`${line} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n${credential}${rest}`);
        const [short, long] = await Promise.all([asked(host), asked(LONG_WAY)]);
        expect(gist(short), `${line} ${credential.slice(0, 30)} ${rest}`).toBe(gist(long));
        statuses.add(short.slice(9, 12));
      }),
    );
  expect([...statuses].sort()).toEqual(
    expect.arrayContaining(['200', '201', '400', '401', '403', '404', '405', '413', '415', '422']),
  );
});

test('what was sent behind a refused request is answered by itself', async () => {
  const network = await startNetwork();
  const { host, port } = new URL(network.url);
  const socket = connect(Number(port), '127.0.0.1');
  let heard = '';
  socket.on('data', (chunk) => {
    heard += chunk;
  });
  const inner = `GET /livez HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  socket.write(
    `POST /aitp/tasks HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${inner.length}\r\n\r\n${inner}GET /livez HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
  );
  await once(socket, 'close');
  expect(heard.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 200']);
});
