import { createHash, generateKeyPairSync } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ConfigError, parseConfig } from './config.ts';

const CERT = fileURLToPath(new URL('../../e2e/fixtures/localhost-cert.pem', import.meta.url));
const KEY = fileURLToPath(new URL('../../e2e/fixtures/localhost-key.pem', import.meta.url));

const wordsOf = (env: Record<string, string>) => {
  try {
    parseConfig(env);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
};

describe('settings', () => {
  test('have defaults, and what is blank is not set', () => {
    const it = {
      host: '127.0.0.1',
      port: 8000,
      dataDir: '.muster',
      databaseUrl: undefined,
      adminKey: undefined,
      signingKey: undefined,
      tls: undefined,
      publicUrl: undefined,
      behindProxy: false,
      requireDpop: false,
      retentionDays: 30,
      minScheduleSeconds: 1,
      maxClasses: 10_000,
      logLevel: 'info',
    };
    expect(parseConfig({})).toEqual(it);
    expect(
      parseConfig({ MUSTER_PORT: '', DATABASE_URL: '', MUSTER_LOG_LEVEL: '', MUSTER_ADMIN_KEY: '', PATH: '/bin' }),
    ).toEqual(it);
    expect(parseConfig({ MUSTER_PORT: '0', DATABASE_URL: 'postgresql://h/d' })).toMatchObject({
      port: 0,
      databaseUrl: 'postgresql://h/d',
    });
  });

  test.each([
    ['MUSTER_PORT', '70000', /"70000".*0 \(any free port\) to 65535/],
    ['MUSTER_PORT', '80.5', /"80.5".*whole number/],
    ['MUSTER_PORT', 'http', /"http".*whole number/],
    ['MUSTER_RETENTION_DAYS', '-1', /"-1".*for how many days/],
    ['MUSTER_RETENTION_DAYS', '1.5', /"1.5".*a whole number; 0 keeps/],
    ['MUSTER_MIN_SCHEDULE_SECONDS', '0', /"0".*how many seconds the due times/],
    ['MUSTER_MAX_CLASSES', 'many', /"many".*how many different requirements/],
    ['MUSTER_LOG_LEVEL', 'loud', /"loud".*one of trace, debug, info, warn, error, fatal, silent/],
    ['MUSTER_TLS_CERT', '/none.pem', /go together/],
    ['MUSTER_BEHIND_PROXY', 'yes', /"yes".*true or false: whether a proxy/],
    ['MUSTER_REQUIRE_DPOP', '1', /"1".*true or false: whether agents must prove/],
    ['MUSTER_PUBLIC_URL', 'muster.test', /"muster.test".*http\(s\) URL/],
    ['MUSTER_PUBLIC_URL', 'ftp://muster.test', /http\(s\) URL/],
    ['MUSTER_PUBLIC_URL', 'https://muster.test/api', /without a path/],
    ['MUSTER_PUBLIC_URL', 'https://muster.test?a=b', /without a path, a query/],
    ['MUSTER_PUBLIC_URL', 'https://muster.test#a', /without a path, a query/],
    ['MUSTER_PUBLIC_URL', 'https://[muster', /http\(s\) URL/],
    ['MUSTER_HOST', '0.0.0.0', /"0.0.0.0".*without TLS.*MUSTER_TLS_CERT.*MUSTER_BEHIND_PROXY=true/],
    ['MUSTER_HOST', '::', /without TLS/],
    ['MUSTER_HOST', '192.168.1.7', /without TLS/],
    ['MUSTER_HOST', '128.0.0.1', /without TLS/],
    ['MUSTER_HOST', '::ffff:10.0.0.1', /without TLS/],
    ['MUSTER_HOST', 'localhost.muster.test', /without TLS/],
  ])('%s=%s stops the start with its name, its value and what is allowed', (name, value, message) => {
    const words = wordsOf({ [name]: value });
    expect(words).toMatch(message);
    expect(words).toContain(name);
  });

  test.each([
    ['MUSTER_ADMIN_KEY', 'short-secret', /at least 24 characters/],
    ['MUSTER_ADMIN_KEY', 'a secret with many blanks in it', /without blanks/],
    ['DATABASE_URL', 'mysql://me:secret@host/db', /postgres:\/\/ URL/],
    ['MUSTER_PUBLIC_URL', 'https://me:secret@muster.test', /http\(s\) URL/],
  ])('%s is named, but its value is not shown', (name, value, message) => {
    const words = wordsOf({ [name]: value });
    expect(words).toContain(name);
    expect(words).toMatch(message);
    expect(words).not.toMatch(/secret/);
  });

  test.each([
    'mk_admin_example_key_of_the_docs',
    'please-change-me-please-change-me',
    'CHANGEME-CHANGEME-CHANGEME',
    'your-admin-key-goes-in-here',
    '<the-key-you-have-made-yourself>',
    'a-very-secret-admin-key-of-mine',
    'correct-password-battery-staple',
    '123456789012345678901234567890',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    `mk_admin_${'0'.repeat(49)}`,
    'abababababababababababababab',
  ])('an admin key that stands in examples is refused without being shown: %s', (key) => {
    const words = wordsOf({ MUSTER_ADMIN_KEY: key });
    expect(words).toMatch(/^MUSTER_ADMIN_KEY: .*looks like an example.*made and kept in the data folder$/);
    expect(words).not.toContain(key);
  });

  test('the signing key printed in RFC 8037 is refused, and no key made at random is', () => {
    const printed = {
      kty: 'OKP',
      crv: 'Ed25519',
      d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
      x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
    };
    const words = wordsOf({ MUSTER_SIGNING_KEY: JSON.stringify(printed) });
    expect(words).toMatch(/MUSTER_SIGNING_KEY: .*RFC 8037/);
    expect(words).not.toContain(printed.d);
    for (let n = 0; n < 2_000; n += 1) {
      const { privateKey } = generateKeyPairSync('ed25519');
      const digest = createHash('sha256').update(`${n}`).digest();
      const env = {
        // The same in every run: of keys made anew, one in many runs would hold such a word.
        MUSTER_ADMIN_KEY: [digest.toString('hex', 0, 12), `mk_admin_${digest.toString('base64url')}`][n % 2]!,
        MUSTER_SIGNING_KEY: JSON.stringify(privateKey.export({ format: 'jwk' })),
      };
      expect(parseConfig(env).adminKey).toBe(env.MUSTER_ADMIN_KEY);
    }
  });

  test.each<Record<string, string>>([
    { MUSTER_HOST: '127.8.9.1' },
    { MUSTER_HOST: '::1' },
    { MUSTER_HOST: '0:0:0:0:0:0:0:1' },
    { MUSTER_HOST: '::ffff:127.0.0.1' },
    { MUSTER_HOST: 'LocalHost' },
    { MUSTER_HOST: '0.0.0.0', MUSTER_BEHIND_PROXY: 'true' },
    { MUSTER_HOST: '0.0.0.0', MUSTER_TLS_CERT: CERT, MUSTER_TLS_KEY: KEY },
  ])('what only this machine reaches, or TLS protects, is served: %o', (env) => {
    expect(parseConfig(env).host).toBe(env.MUSTER_HOST);
  });

  test('the public URL is kept as an origin', () => {
    const publicUrl = (url: string) => parseConfig({ MUSTER_PUBLIC_URL: url }).publicUrl;
    expect(publicUrl('HTTPS://Muster.Test:443/')).toBe('https://muster.test');
    expect(publicUrl('http://[::1]:8000')).toBe('http://[::1]:8000');
    expect(parseConfig({ MUSTER_REQUIRE_DPOP: 'true', MUSTER_BEHIND_PROXY: 'false' })).toMatchObject({
      requireDpop: true,
      behindProxy: false,
    });
  });

  test('all that is wrong is told at once, and a certificate that cannot be read by name', () => {
    expect(wordsOf({ MUSTER_PORT: 'x', MUSTER_LOG_LEVEL: 'y' })!.split('\n')).toHaveLength(2);
    expect(wordsOf({ MUSTER_TLS_CERT: '/none.pem', MUSTER_TLS_KEY: '/none.key' })).toMatch(
      /MUSTER_TLS_CERT: "\/none.pem" cannot be read \(ENOENT\)/,
    );
  });
});
