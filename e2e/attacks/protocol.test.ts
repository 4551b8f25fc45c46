import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { listTasks } from '@muster/shared/contract/tasks';
import type { ProblemCode } from '@muster/shared/errors';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { forge, numbered, pointersIn, read } from './requests.ts';
import { type Answer, type Attack, ask, attacks, type Stage, setStage, shout } from './stage.ts';
import { chunked, send, TASK, type Wire, wire } from './wire.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(() => stage.coordinator.stop());

type Row = Omit<Attack, 'id'>;

/** One that is refused, whatever else is good about it. */
const refused = (what: string, status: number, code: ProblemCode, request: Wire | ((stage: Stage) => Wire)): Row => ({
  what,
  send: (stage) => send(stage, typeof request === 'function' ? request(stage) : request),
  status,
  code,
});
const malformed = (what: string, request: Wire) => refused(what, 400, 'malformed-request', request);

const bytes = (...parts: (string | number[])[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))));
const CHUNKED = 'Transfer-Encoding: chunked';

const TYPES = [
  ...[
    'text/plain',
    'text/json',
    'text/html',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    'application/javascript',
    'application/json-patch+json',
    'application/merge-patch+json',
    'application/vnd.api+json',
    'application/ndjson',
    'application/json-seq',
    'application/cbor',
    'application/xml',
    'application/yaml',
    'application/octet-stream',
    'application/json, text/plain',
    'application/json/',
    'xapplication/json',
    'application/ json',
    'json',
    '*/*',
    '; charset=utf-8',
  ].map((type) => refused(`the content-type ${type}`, 415, 'unsupported-media-type', { type })),
  refused('no content-type', 415, 'unsupported-media-type', { type: null }),
  refused('an empty content-type', 415, 'unsupported-media-type', { type: '' }),
  malformed('two content-types', { headers: ['Content-Type: application/json'] }),
];

const ZEROS = Buffer.alloc(64 * 1_048_576, 0x20);
const ENCODED = [
  ['gzip', gzipSync(TASK)],
  ['deflate', deflateSync(TASK)],
  ['br', brotliCompressSync(TASK)],
  ['x-gzip', gzipSync(TASK)],
  ['gzip, gzip', gzipSync(gzipSync(TASK))],
  ['zstd', Buffer.from(TASK)],
  ['compress', Buffer.from(TASK)],
  ['identity, gzip', gzipSync(TASK)],
  ['nonsense', Buffer.from(TASK)],
  ['utf-7', Buffer.from(TASK)],
].map(([encoding, body]) =>
  refused(`a body in ${encoding}`, 415, 'unsupported-media-type', {
    body: body as Uint8Array,
    headers: [`Content-Encoding: ${encoding}`],
  }),
);
const BOMBS = [
  refused('64 MiB as 64 kB of gzip', 415, 'unsupported-media-type', {
    body: gzipSync(ZEROS),
    headers: ['Content-Encoding: gzip'],
  }),
  refused('64 MiB as 52 bytes of brotli', 415, 'unsupported-media-type', {
    body: brotliCompressSync(ZEROS),
    headers: ['Content-Encoding: br'],
  }),
  malformed('gzip that does not say so', { body: gzipSync(TASK) }),
];

const JSON_THAT_IS_NONE = Object.entries({
  'a brace': '{',
  'half of it': TASK.slice(0, -5),
  'a comma too many': `${TASK.slice(0, -1)},}`,
  'a comma too few': '{"task_type":"never" "input_data":null}',
  'single quotes': TASK.replaceAll('"', "'"),
  'names without quotes': '{task_type:"never",input_data:null}',
  NaN: TASK.replace('null', 'NaN'),
  Infinity: TASK.replace('null', 'Infinity'),
  undefined: TASK.replace('null', 'undefined'),
  'a hexadecimal number': TASK.replace('null', '0x10'),
  'an octal number': TASK.replace('null', '010'),
  'a plus sign': TASK.replace('null', '+1'),
  'a point without a digit before': TASK.replace('null', '.5'),
  'a point without a digit behind': TASK.replace('null', '5.'),
  'an exponent without digits': TASK.replace('null', '1e'),
  'a comment': `${TASK.slice(0, -1)}/* */}`,
  'a second value behind it': `${TASK}${TASK}`,
  'a word behind it': `${TASK} x`,
  'a NUL behind it': `${TASK}\0`,
  'a NUL before it': `\0${TASK}`,
  'a bare NUL in a text': TASK.replace('null', '"a\0b"'),
  'a bare line break in a text': TASK.replace('null', '"a\nb"'),
  'a bare tab in a text': TASK.replace('null', '"a\tb"'),
  'an escape of half a digit': TASK.replace('null', '"\\u12"'),
  'an escape that is none': TASK.replace('null', '"\\x41"'),
  'a vertical tab for a blank': `\v${TASK}`,
  'a no-break space for a blank': `\u00c2\u00a0${TASK}`,
  'a line separator for a blank': `\u00e2\u0080\u00a8${TASK}`,
  'two BOMs': `\u00ef\u00bb\u00bf\u00ef\u00bb\u00bf${TASK}`,
  'a BOM in the middle': TASK.replace(':', ':\u00ef\u00bb\u00bf'),
  'JavaScript that guards JSON': `)]}',\n${TASK}`,
  'a function': `f(${TASK})`,
  'JSON lines': `${TASK}\n${TASK}\n`,
  YAML: 'task_type: never\ninput_data: null\n',
  XML: '<task><task_type>never</task_type></task>',
  'a form': 'task_type=never&input_data=null',
}).map(([what, body]) => malformed(`JSON with ${what}`, { body }));

const TEXT_THAT_IS_NONE = Object.entries({
  'an overlong slash': bytes('"', [0xc0, 0xaf], '"'),
  'an overlong quote': bytes('"', [0xc0, 0xa2], '"'),
  'an overlong NUL': bytes('"', [0xc0, 0x80], '"'),
  'three bytes too many for a slash': bytes('"', [0xe0, 0x80, 0xaf], '"'),
  'four bytes too many for a slash': bytes('"', [0xf0, 0x80, 0x80, 0xaf], '"'),
  'half a surrogate pair': bytes('"', [0xed, 0xa0, 0x80], '"'),
  'a surrogate pair (CESU-8)': bytes('"', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80], '"'),
  'more than Unicode has': bytes('"', [0xf4, 0x90, 0x80, 0x80], '"'),
  'five bytes for a character': bytes('"', [0xf8, 0x88, 0x80, 0x80, 0x80], '"'),
  'half a character': bytes('"', [0xe2, 0x82], '"'),
  'the second half of a character': bytes('"', [0x80], '"'),
  'a byte that is never': bytes('"', [0xff], '"'),
  'Latin-1': bytes('"', [0xfc], '"'),
}).map(([what, value]) =>
  malformed(`UTF-8 with ${what}`, { body: bytes('{"task_type":"never","input_data":', [...value], '}') }),
);
const OTHER_TEXT = [
  malformed('UTF-16 with a BOM', { body: bytes([0xff, 0xfe], [...Buffer.from(TASK, 'utf16le')]) }),
  malformed('UTF-16 without', { body: Buffer.from(TASK, 'utf16le') }),
  malformed('UTF-16, the other way round', { body: Buffer.from(TASK, 'utf16le').swap16() }),
  malformed('UTF-16 that says so', { body: Buffer.from(TASK, 'utf16le'), type: 'application/json; charset=utf-16' }),
  malformed('UTF-7', { body: TASK.replaceAll('"', '+ACI-') }),
  malformed('EBCDIC', { body: bytes([0xc0, 0x7f, 0xa3, 0x81, 0xa2, 0x92, 0x7f, 0x7a, 0xf1, 0xd0]) }),
];

/** A value that the schema does not have, in a place it must name. */
const invalid = (what: string, body: string, pointer: string): Row => ({
  what,
  async send(stage) {
    const answer = await send(stage, { body });
    expect(pointersIn(answer)).toContain(pointer);
    return answer;
  },
  status: 422,
  code: 'validation-failed',
});
const withField = (name: string, value: string) => `${TASK.slice(0, -1)},"${name}":${value}}`;
const deep = (levels: number, open: string, close: string) => open.repeat(levels) + close.repeat(levels);

const VALUES = [
  ...['1e400', '-1e400', '1E+309', `${'9'.repeat(301)}e9`, `1${'0'.repeat(309)}`].map((number) =>
    invalid(`a number past all numbers, ${number.slice(0, 12)}`, TASK.replace('null', number), '#/input_data'),
  ),
  ...[
    '-0',
    '0',
    '11',
    '-1',
    '5.5',
    '1e-7',
    '9007199254740993',
    '99999999999999999999',
    '"5"',
    'true',
    'null',
    '[5]',
    '{}',
    '{"valueOf":5}',
  ].map((value) => invalid(`a priority of ${value}`, withField('priority', value), '#/priority')),
  ...['0', '-1', '604801', '9007199254740993', '0.1', '1e-400'].map((value) =>
    invalid(`a timeout of ${value}`, withField('timeout_seconds', value), '#/timeout_seconds'),
  ),
  ...['\\ud800', '\\udc00', '\\udc00\\ud800', '\\u0000', 'a\\u0000b'].map((value) =>
    invalid(`a text with ${value}`, TASK.replace('null', `{"x":["${value}"]}`), '#/input_data/x/0'),
  ),
  invalid('a name with half a surrogate pair', TASK.replace('null', '{"\\ud800":1}'), '#/input_data/\ufffd'),
  invalid('a name with a NUL', TASK.replace('null', '{"\\u0000":1}'), '#/input_data/\\0'),
  invalid('lists 10,000 deep', TASK.replace('null', deep(10_000, '[', ']')), '#/input_data'),
  invalid('lists 500,000 deep', TASK.replace('null', deep(500_000, '[', ']')), '#/input_data'),
  invalid(
    'objects 10,000 deep',
    TASK.replace('null', `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`),
    '#/input_data',
  ),
  invalid('257 levels', TASK.replace('null', deep(257, '[', ']')), '#/input_data'),
  invalid('80,000 unknown names', `{${Array.from({ length: 80_000 }, (_, n) => `"n${n}":1`).join()}}`, '#/task_type'),
  invalid(
    '80,000 names in metadata',
    withField('metadata', `{${Array.from({ length: 80_000 }, (_, n) => `"n${n}":1`).join()}}`),
    '#/metadata',
  ),
  invalid('a name of 1 MB', `{"${'n'.repeat(1_000_000)}":1}`, `#/${'n'.repeat(80)}`),
  invalid('100,000 tags that are no text', withField('tags', `[${'1,'.repeat(100_000)}1]`), '#/tags'),
  invalid('a tag of 1 MB', withField('tags', `["${'x'.repeat(1_000_000)}"]`), '#/tags/0'),
  ...['[]', 'null', '5', '"text"', 'true', ' '].map((body) =>
    ' ' === body ? malformed('a blank', { body }) : invalid(`${body} for a task`, body, '#'),
  ),
  invalid('nothing at all', '', '#'),
];

const LARGE = [
  refused('a body of a byte too many', 413, 'payload-too-large', {
    body: TASK.replace('null', `"${'x'.repeat(1_048_577 - TASK.length + 2)}"`),
  }),
  refused('a length of 1 GB', 413, 'payload-too-large', { length: 1_000_000_000, body: '{' }),
  {
    what: 'a length of 1 GB that asks first',
    async send(stage: Stage) {
      const request = { length: 1_000_000_000, body: '{', headers: ['Expect: 100-continue'] };
      const answer = await send(stage, request);
      expect(answer.body).toContain('"code":"payload-too-large"');
      return answer;
    },
    // "Continue", and at once that it is no use.
    status: 100,
  },
  refused('a byte too many, in chunks', 413, 'payload-too-large', {
    length: null,
    headers: [CHUNKED],
    body: chunked(...Array.from({ length: 17 }, () => ' '.repeat(65_536))),
  }),
  refused('100,000 chunks of a byte behind good ones', 413, 'payload-too-large', {
    length: null,
    headers: [CHUNKED],
    body: chunked(
      ...Array.from({ length: 16 }, () => ' '.repeat(65_536)),
      ...Array.from({ length: 100_000 }, () => ' '),
    ),
  }),
];

/** A second task behind the first, for who takes the one for the other's body. */
const SMUGGLED = (stage: Stage) => wire(stage, {}).toString('latin1');
const smuggling = (what: string, request: (smuggled: string) => Wire): Row => ({
  what,
  send: (stage) => send(stage, request(SMUGGLED(stage))),
  status: 400,
  code: 'malformed-request',
});

const LENGTHS = [
  smuggling('Content-Length before Transfer-Encoding', (smuggled) => ({
    length: 5,
    headers: [CHUNKED],
    body: `0\r\n\r\n${smuggled}`,
  })),
  smuggling('Transfer-Encoding before Content-Length', (smuggled) => ({
    length: null,
    headers: [CHUNKED, 'Content-Length: 5'],
    body: `0\r\n\r\n${smuggled}`,
  })),
  smuggling('Transfer-Encoding in a line of its own blank', (smuggled) => ({
    headers: ['Transfer-Encoding : chunked'],
    body: `0\r\n\r\n${smuggled}`,
  })),
  smuggling('Transfer-Encoding behind a bare line feed', (smuggled) => ({
    headers: [`X: y\n${CHUNKED}`],
    body: `0\r\n\r\n${smuggled}`,
  })),
  smuggling('Transfer-Encoding in a folded line', (smuggled) => ({
    headers: ['X: y', ` ${CHUNKED}`],
    body: `0\r\n\r\n${smuggled}`,
  })),
  ...['xchunked', 'chunked, identity', 'chunked, chunked', 'identity', '"chunked"', 'chunked;q=1', '\x0bchunked'].map(
    (coding) =>
      smuggling(`the transfer-encoding ${JSON.stringify(coding)}`, (smuggled) => ({
        length: null,
        headers: [`Transfer-Encoding: ${coding}`],
        body: `0\r\n\r\n${smuggled}`,
      })),
  ),
  malformed('the transfer-encoding gzip, chunked', {
    length: null,
    headers: ['Transfer-Encoding: gzip, chunked'],
    body: chunked(TASK),
  }),
  malformed('two transfer-encodings', { length: null, headers: [CHUNKED, CHUNKED], body: chunked(TASK) }),
  malformed('two lengths that differ', { headers: [`Content-Length: ${TASK.length + 1}`] }),
  malformed('two lengths that agree', { headers: [`Content-Length: ${TASK.length}`] }),
  ...['-1', '+39', '0x27', '39.0', '3 9', '1e2', '99999999999999999999', 'NaN', '39,39', ''].map((length) =>
    malformed(`a length of ${JSON.stringify(length)}`, { length }),
  ),
  ...[TASK.length - 1, 1, 0].map(
    (length): Row => ({
      what: `a length of ${length}, with more behind it`,
      send: (stage) => send(stage, { length: String(length) }),
      // What is left is no request: the connection ends, before or behind the answer.
      status: [0, 400, 422],
    }),
  ),
  ...['zz', '-1', '0x27', '+27', '27 ', ' 27', '1'.repeat(20), ''].map((size) =>
    malformed(`a chunk of ${JSON.stringify(size)}`, {
      length: null,
      headers: [CHUNKED],
      body: `${size}\r\n${TASK}\r\n0\r\n\r\n`,
    }),
  ),
  malformed('a chunk that is longer than it says', {
    length: null,
    headers: [CHUNKED],
    body: `2\r\n${TASK}\r\n0\r\n\r\n`,
  }),
  malformed('a chunk that ends with a line feed', {
    length: null,
    headers: [CHUNKED],
    body: `27\n${TASK}\n0\n\n`,
  }),
  refused('a chunk extension of 100 kB', 413, 'payload-too-large', {
    length: null,
    headers: [CHUNKED],
    body: `27;${'x'.repeat(100_000)}\r\n${TASK}\r\n0\r\n\r\n`,
  }),
  malformed('chunks in HTTP/1.0', { version: 'HTTP/1.0', length: null, headers: [CHUNKED], body: chunked(TASK) }),
  refused('credentials in a trailer', 401, 'unauthenticated', {
    known: false,
    length: null,
    headers: [CHUNKED, 'Trailer: Authorization'],
    body: `27\r\n${TASK}\r\n0\r\nAuthorization: Bearer x\r\n\r\n`,
  }),
  {
    what: 'a body that stays away',
    send: (stage: Stage) => send(stage, { length: TASK.length + 100 }, 300),
    status: 0,
  },
  {
    what: 'a last chunk that stays away',
    send: (stage: Stage) => send(stage, { length: null, headers: [CHUNKED], body: `27\r\n${TASK}\r\n` }, 300),
    status: 0,
  },
] satisfies Row[];

const LINES = [
  malformed('an unknown method', { method: 'STEAL' }),
  malformed('a method in lower case', { method: 'post', body: TASK }),
  malformed('a method of 100 kB', { method: 'P'.repeat(100_000) }),
  malformed('CONNECT', { method: 'CONNECT', target: 'localhost:5432' }),
  ...['PUT', 'PATCH', 'DELETE', 'PROPFIND', 'SEARCH', 'TRACE', 'OPTIONS', 'QUERY'].map((method) =>
    refused(method, 405, 'method-not-allowed', { method, body: '' }),
  ),
  malformed('OPTIONS of the server', { method: 'OPTIONS', target: '*', body: '' }),
  ...['HTTP/0.9', 'HTTP/2.0', 'HTTP/3.0', 'HTTP/1.2', 'HTTP/1', 'http/1.1', 'HTTP/1.1 x', 'HTTP/01.1', ''].map(
    (version) => malformed(`the version ${JSON.stringify(version)}`, { version }),
  ),
  refused('a target of 100 kB', 414, 'uri-too-long', { target: `/aitp/tasks?${'x'.repeat(100_000)}` }),
  refused('a target of 9 kB', 414, 'uri-too-long', { target: `/aitp/tasks?${'x'.repeat(9_000)}` }),
  ...['aitp/tasks', 'muster:8000', 'http://', 'http://[::1', 'file:///etc/passwd', 'http://a@b/aitp/tasks'].map(
    (target) => malformed(`the target ${target}`, { target }),
  ),
  malformed('a target with a blank', { target: '/aitp/ tasks' }),
  malformed('a target with a tab', { target: '/aitp/\ttasks' }),
  ...[
    '/aitp/tasks%00',
    '/aitp/tasks%2f',
    '/aitp/tasks/',
    '//aitp/tasks',
    '/aitp//tasks',
    '/AITP/tasks',
    '/aitp/tasks;jsessionid=1',
    '/aitp/tasks%3fx',
    '/aitp/tasks%20',
    '/aitp/tasks.json',
    '/%61itp%2ftasks',
    '/aitp%5ctasks',
    '/aitp/%c0%ae%c0%ae/tasks',
    '/aitp/tasks/..;/tasks',
    '/docs/..%2f..%2fpackage.json',
    '/docs/%2e%2e%2f%2e%2e%2fetc%2fpasswd',
    'http:///aitp/tasks',
    '/aitp/tasks/%2e%2e',
    '/.env',
    '/.git/config',
    '/wp-login.php',
    '/metrics',
    '/debug/pprof',
  ].map((target) => refused(`the path ${target}`, 404, 'not-found', { target })),
  ...['%00', '..%2f..%2f', '%c0%af', '%ff', '%', '%zz', '__proto__', 'constructor', '*', '%F0%9F%92%A5'].map((id) =>
    refused(`the id ${id}`, 400, 'invalid-id', { method: 'GET', target: `/aitp/tasks/${id}` }),
  ),
];

const raw = (what: string, text: string, code: ProblemCode = 'malformed-request'): Row => ({
  what,
  send: (stage) => shout(stage.url, Buffer.from(text, 'latin1')),
  status: 400,
  code,
});

const HEADERS = [
  malformed('no host', { host: null }),
  malformed('two hosts', { headers: ['Host: other'] }),
  ...['a b', 'a/b', 'me@a', 'a:b', 'a:99999', '[::1', 'a\\b', 'a?b', 'a#b'].map((host) =>
    malformed(`the host ${host}`, { host }),
  ),
  malformed('two credentials', { headers: ['Authorization: Bearer other'] }),
  malformed('two kinds of credentials', { headers: ['X-API-Key: other'] }),
  malformed('two keys', { known: false, headers: ['X-API-Key: a', 'X-Api-Key: b'] }),
  malformed('two proofs', { headers: ['DPoP: a', 'DPoP: b'] }),
  malformed('a header without a name', { headers: [': x'] }),
  malformed('a header without a colon', { headers: ['nonsense'] }),
  malformed('a header name with a blank', { headers: ['X Y: z'] }),
  malformed('a header name with a NUL', { headers: ['X\0Y: z'] }),
  malformed('a header name beyond ASCII', { headers: ['Xü: z'] }),
  malformed('a NUL in a header', { headers: ['X: y\0z'] }),
  malformed('a bare CR in a header', { headers: ['X: y\rAuthorization: z'] }),
  malformed('a folded header', { headers: ['X: y', '\tz'] }),
  malformed('a header before the first', { target: '/aitp/tasks', version: 'HTTP/1.1\r\n X: y' }),
  refused('1,000 headers', 431, 'headers-too-large', { headers: Array.from({ length: 1_000 }, (_, n) => `X-${n}: y`) }),
  refused('101 headers', 431, 'headers-too-large', { headers: Array.from({ length: 101 }, (_, n) => `X-${n}: y`) }),
  refused('a header of 100 kB', 431, 'headers-too-large', { headers: [`X: ${'y'.repeat(100_000)}`] }),
  refused('a header name of 20 kB', 431, 'headers-too-large', { headers: [`${'X'.repeat(20_000)}: y`] }),
  refused('cookies of 20 kB', 431, 'headers-too-large', { headers: [`Cookie: ${'a=b; '.repeat(4_000)}`] }),
  malformed('an expectation of the moon', { headers: ['Expect: the-moon'] }),
  raw('no HTTP', 'hello, is there anybody?\r\n\r\n'),
  raw('a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
  raw('the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  raw('SMTP', 'EHLO muster\r\nMAIL FROM:<a@b>\r\n\r\n'),
  raw('Redis', '*1\r\n$8\r\nFLUSHALL\r\n'),
  raw('the Postgres hello', '\x00\x00\x00\x08\x04\xd2\x16\x2f'),
  raw('an SSH hello', 'SSH-2.0-OpenSSH_9.6\r\n'),
  raw('HTTP of 1991', 'GET /aitp/tasks\r\n\r\n'),
];

/** What is taken, but for what it is and no more. `told` looks at the answer. */
const inert = (what: string, request: Wire, told: (answer: Answer, stage: Stage) => void, status = 200): Row => ({
  what,
  async send(stage) {
    const answer = await send(stage, { method: 'GET', target: '/aitp/tasks?limit=1', ...request });
    told(answer, stage);
    return answer;
  },
  status,
});
const same = (answer: Answer, stage: Stage) => {
  expect(read<{ data: { task_id: string }[] }>(answer).data).toHaveLength(1);
  expect(
    Object.keys(answer.headers).filter((name) => /access-control|upgrade|content-range|location/.test(name)),
  ).toEqual([]);
  expect(answer.headers).toMatchObject({ 'content-type': 'application/json', 'x-content-type-options': 'nosniff' });
  expect(answer.body).not.toContain('evil');
  expect(stage).toBeDefined();
};
const withHeader = (header: string) => inert(header.slice(0, 60), { headers: [header] }, same);

const IGNORED = [
  ...[
    'Range: bytes=0-10',
    'Range: bytes=-1',
    `Range: bytes=${Array.from({ length: 1_000 }, (_, n) => `${n}-`).join()}`,
    'If-Range: "x"',
    'If-Match: "lies"',
    'If-None-Match: *',
    'If-Modified-Since: Wed, 21 Oct 2115 07:28:00 GMT',
    'If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT',
    'X-HTTP-Method-Override: DELETE',
    'X-HTTP-Method: DELETE',
    'X-Method-Override: POST',
    'X-Original-URL: /ains/agents',
    'X-Rewrite-URL: /ains/agents',
    'X-Forwarded-Host: evil.example',
    'X-Forwarded-Proto: evil',
    'X-Forwarded-For: 127.0.0.1, evil',
    'Forwarded: host=evil.example;for=evil',
    'Origin: https://evil.example',
    'Referer: https://evil.example',
    'Access-Control-Request-Method: DELETE',
    'Accept: text/html',
    'Accept: */evil',
    'Accept-Encoding: gzip;q=1, *;q=0',
    'Accept-Charset: utf-7',
    'TE: trailers, deflate',
    'Max-Forwards: 0',
    'Prefer: return=evil',
    'Content-Disposition: attachment; filename=evil',
    'Via: 1.1 evil',
    'X-Request-Id: evil\u00e9<script>',
    `X-Request-Id: ${'evil'.repeat(100)}`,
    'traceparent: evil',
  ].map(withHeader),
  inert(
    'an upgrade to a web socket',
    { headers: ['Upgrade: websocket', 'Sec-WebSocket-Key: x', 'Connection: Upgrade'] },
    same,
  ),
  inert('an upgrade to HTTP/2', { headers: ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABk', 'Connection: Upgrade'] }, same),
  inert('a host that lies', { host: 'evil.example' }, same),
  inert('a host that is the metadata service', { host: '169.254.169.254' }, same),
  inert('the absolute form, of another host', { target: 'http://evil.example/aitp/tasks?limit=1' }, same),
  inert('the absolute form, by another scheme', { target: 'https://evil.example/aitp/tasks?limit=1' }, same),
  inert('HTTP/1.0 without a host', { version: 'HTTP/1.0', host: null }, same),
  inert('a fragment', { target: '/aitp/tasks?limit=1#evil' }, same),
  inert('a path with dots', { target: '/ains/../aitp/./tasks?limit=1' }, same),
  inert('a path with dots in disguise', { target: '/ains/%2e%2e/aitp/%2E/tasks?limit=1' }, same),
  inert('a parameter twice: the first counts', { target: '/aitp/tasks?limit=1&limit=evil' }, same),
  inert(
    'a parameter named __proto__',
    { target: '/aitp/tasks?limit=1&__proto__=evil' },
    (answer) => {
      expect([200, 422]).toContain(answer.status);
    },
    422,
  ),
  inert('a GET with a body', { body: TASK, type: 'text/evil' }, same),
  inert('a GET with another request for a body', { body: `DELETE /aitp/tasks HTTP/1.1\r\n\r\n` }, same),
  inert('a line break before it', { method: '\r\nGET' }, same),
];

const HEADS = [
  { what: 'HEAD of a list', path: '/aitp/tasks', as: 'owner' as const, status: 200 },
  { what: 'HEAD of a list, by nobody', path: '/aitp/tasks', as: 'nobody' as const, status: 401 },
  {
    what: 'HEAD of what is only posted',
    path: ({ task_id }: Stage) => `/aitp/tasks/${task_id}/cancel`,
    as: 'owner' as const,
    status: 405,
  },
].map(
  ({ what, path, as, status }): Row => ({
    what,
    async send(stage) {
      const answer = await forge(stage, { as, method: 'HEAD', path });
      expect(answer.body).toBe('');
      return answer;
    },
    status,
  }),
);

/** Bodies that are taken: what was checked is what is kept. */
const kept = (what: string, body: string | Uint8Array, task: object, type?: string): Row => ({
  what,
  send: (stage) => send(stage, { body, ...(type ? { type } : {}) }),
  status: 201,
  changes: true,
  async after({ owner }) {
    const { data } = await owner.call(listTasks, { query: { limit: 1 } });
    expect(data[0]).toMatchObject(task);
  },
});
const KEPT = [
  kept(
    'a name twice: the last is checked and kept',
    `{"priority":1,"task_type":"a","task_type":"b","input_data":1,"priority":9}`,
    {
      task_type: 'b',
      priority: 9,
    },
  ),
  kept('a BOM, which is no part of the text', bytes([0xef, 0xbb, 0xbf], TASK), { task_type: 'never' }),
  kept('a number as 1e1', withField('priority', '1e1'), { priority: 10 }),
  kept('minus nothing', withField('max_retries', '-0'), { max_retries: 0 }),
  kept('names that are escaped', TASK.replace('task_type', '\\u0074ask_type'), { task_type: 'never' }),
  kept('a type in capitals, with a charset', TASK, { task_type: 'never' }, 'Application/JSON; charset="utf-8"'),
  kept('256 levels', `{"task_type":"deep","input_data":${deep(255, '[', ']')}}`, { task_type: 'deep' }),
  kept('20,000 names', TASK.replace('null', `{${Array.from({ length: 20_000 }, (_, n) => `"n${n}":1`).join()}}`), {
    task_type: 'never',
  }),
];

const ELSEWHERE: Row[] = [
  {
    what: 'a method in the query',
    send: (stage) =>
      ask(`${stage.url}/aitp/tasks?_method=DELETE`, { headers: { authorization: `Bearer ${stage.owner.api_key}` } }),
    status: 422,
    code: 'validation-failed',
  },
  {
    what: 'a credential in the query',
    send: (stage) => ask(`${stage.url}/aitp/tasks?api_key=${stage.owner.api_key}`),
    status: 401,
    code: 'unauthenticated',
  },
  {
    what: 'a fence of 2^53 + 1',
    send: (stage) =>
      forge(stage, {
        as: 'agent',
        path: ({ run }) => `/aitp/runs/${run.run_id}/result`,
        body: '{"fence":9007199254740993,"outcome":"COMPLETED"}',
      }),
    status: 422,
    code: 'validation-failed',
  },
  {
    what: 'a name twice in a heartbeat, once of another life',
    send: (stage) =>
      forge(stage, {
        as: 'agent',
        path: ({ agent }) => `/ains/agents/${agent.agentId}/heartbeat`,
        body: `{"boot_id":"${stage.agent.bootId}","status":"ACTIVE","slots_free":1,"runs":[],"boot_id":"boot_01h455vb4pex5vsknk084sn02q"}`,
      }),
    status: 409,
    code: 'stale-lease',
  },
];

const TABLE = numbered('G', [
  ...TYPES,
  ...ENCODED,
  ...BOMBS,
  ...JSON_THAT_IS_NONE,
  ...TEXT_THAT_IS_NONE,
  ...OTHER_TEXT,
  ...VALUES,
  ...LARGE,
  ...LENGTHS,
  ...LINES,
  ...HEADERS,
  ...IGNORED,
  ...HEADS,
  ...KEPT,
  ...ELSEWHERE,
]);

describe('what is no good request is refused, and what is odd is taken for no more than it is', () => {
  attacks(() => stage, TABLE);
});
