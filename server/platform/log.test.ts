import { PassThrough } from 'node:stream';
import pretty from 'pino-pretty';
import { describe, expect, test } from 'vitest';
import { createLog, type Log } from './log.ts';

const CANARY = 'cAnArY0123456789abcdefXYZ';
const KEY = `mk_k7f3_${CANARY}${CANARY}`;
const JWT = `eyJhbGciOiJFZERTQSJ9.${CANARY}.${CANARY}`;

/** What a log wrote, as a machine reads it or as a person does. */
function written(readable: boolean, say: (log: Log) => void): string {
  let text = '';
  const keep = new PassThrough();
  keep.on('data', (chunk) => {
    text += chunk;
  });
  const out = readable ? pretty({ colorize: false, sync: true, destination: keep }) : keep;
  say(createLog('trace', readable, out));
  return text;
}

const FIELDS = (
  'authorization Authorization x-api-key X-API-Key cookie set-cookie dpop DPoP registration assertion rotation confirmation ' +
  'access_token enrollment_token admin_key api_key credential key signingKey adminKey'
).split(' ');

describe.each([
  ['JSON lines', false],
  ['readable lines', true],
])('in %s no secret is written', (_, readable) => {
  test.each(FIELDS)('of a field called %s', (name) => {
    const text = written(readable, (log) => {
      log.info({ [name]: CANARY }, 'flat');
      log.info({ [name]: [CANARY, CANARY] }, 'several');
      log.info({ req: { headers: { [name]: CANARY } } }, 'headers');
      log.info({ a: [{ b: { c: { d: { e: [{ [name]: { f: CANARY } }] } } } }] }, 'deep');
      log.child({ [name]: CANARY }).info('child');
      log.error(
        { err: Object.assign(new Error('failed'), { [name]: CANARY, request: { [name]: CANARY } }) },
        'on an error',
      );
    });
    expect(text).toContain('flat');
    expect(text).toContain('child');
    expect(text).not.toContain('cAnArY');
  });

  test.each([
    ['a key', KEY],
    ['a key of the old form', `mk_admin_${CANARY}-_${CANARY}`],
    ['a key in a URL', `https://a/ains/agents?k=${KEY}&x=1`],
    ['a key in JSON in a text', JSON.stringify(JSON.stringify({ note: KEY }))],
    ['a token', JWT],
    ['a token with a spacious header', `ewogImFsZyI6Im5vbmUifQ.${CANARY}.${CANARY}`],
    ['a header', `Authorization: Bearer ${CANARY}`],
    ['another header', `x-api-key: ${CANARY}`],
    ['a proof', `DPoP ${CANARY}`],
    ['a field in JSON in a text', JSON.stringify({ access_token: CANARY })],
    ['a field in JSON in a text in a text', JSON.stringify(JSON.stringify({ enrollment_token: CANARY }))],
    ['a form', `a=b&api_key=${CANARY}&c=d`],
    ['a database', `postgres://muster:${CANARY}@db:5432/muster`],
  ])('of the form of %s', (_, secret) => {
    const text = written(readable, (log) => {
      log.info(secret);
      log.info(`before ${secret} after`);
      log.info({ path: secret, deep: { list: [secret] }, [secret]: 1 }, 'fields');
      log.error({ err: new Error(`failed for ${secret}`, { cause: new Error(secret) }) }, 'error');
      log.error(new AggregateError([new Error(secret)], secret));
    });
    expect(text).toContain('before');
    expect(text).not.toContain('cAnArY');
  });

  test('and what is none stays as it is', () => {
    const harmless = {
      path: '/aitp/tasks/task_01jd4x3v7me1stq0gpeqf1v6x8',
      status: 401,
      detail: 'send an Authorization header: Bearer and an API key or an access token',
      package: 'com.example.application',
      unique_key: 'invoice-7',
      key: null,
    };
    const text = written(readable, (log) => log.info(harmless, 'kept'));
    for (const value of Object.values(harmless)) expect(text).toContain(String(value));
  });
});

const NASTY =
  'a\r\nb\n{"level":30,"msg":"forged"}\u001b[2J\u001b]0;x\u0007\u009b31m\u202etxt\u2028\u0000\u200b\ufeff\u{e0041}z';
const UNSEEN = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

describe('a record is one line, and nothing in it moves the screen', () => {
  const say = (log: Log) => log.warn({ path: NASTY, [NASTY]: { deep: [NASTY] } }, NASTY);

  test('in JSON, which reads as what was sent', () => {
    const text = written(false, say);
    expect(text.indexOf('\n')).toBe(text.length - 1);
    expect(text.trimEnd()).not.toMatch(UNSEEN);
    expect(JSON.parse(text)).toMatchObject({ msg: NASTY, path: NASTY, [NASTY]: { deep: [NASTY] } });
  });

  test('for a person, where only our own stacks and fields make lines', () => {
    const text = written(true, say);
    expect(text).not.toMatch(UNSEEN);
    expect(text).not.toMatch(/^(b|\{"level)/m);
    expect(written(true, (log) => log.warn(NASTY)).trimEnd()).not.toContain('\n');
    const stack = written(true, (log) => log.error({ err: new Error(NASTY) }, 'failed'));
    expect(stack).not.toMatch(UNSEEN);
    expect(stack).toMatch(/\n +at .*log\.test\.ts/);
    expect(stack).not.toMatch(/^\s*(b|\{"level)/m);
  });
});
