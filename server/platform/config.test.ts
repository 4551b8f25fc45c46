import { describe, expect, test } from 'vitest';
import { ConfigError, parseConfig } from './config.ts';

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
    ['MUSTER_LOG_LEVEL', 'loud', /"loud".*one of trace, debug, info, warn, error, fatal, silent/],
    ['MUSTER_TLS_CERT', '/none.pem', /go together/],
  ])('%s=%s stops the start with its name, its value and what is allowed', (name, value, message) => {
    const words = wordsOf({ [name]: value });
    expect(words).toMatch(message);
    expect(words).toContain(name);
  });

  test.each([
    ['MUSTER_ADMIN_KEY', 'short-secret', /at least 24 characters/],
    ['MUSTER_ADMIN_KEY', 'a secret with many blanks in it', /without blanks/],
    ['DATABASE_URL', 'mysql://me:secret@host/db', /postgres:\/\/ URL/],
  ])('%s is named, but its value is not shown', (name, value, message) => {
    const words = wordsOf({ [name]: value });
    expect(words).toContain(name);
    expect(words).toMatch(message);
    expect(words).not.toMatch(/secret/);
  });

  test('all that is wrong is told at once, and a certificate that cannot be read by name', () => {
    expect(wordsOf({ MUSTER_PORT: 'x', MUSTER_LOG_LEVEL: 'y' })!.split('\n')).toHaveLength(2);
    expect(wordsOf({ MUSTER_TLS_CERT: '/none.pem', MUSTER_TLS_KEY: '/none.key' })).toMatch(
      /MUSTER_TLS_CERT: "\/none.pem" cannot be read \(ENOENT\)/,
    );
  });
});
