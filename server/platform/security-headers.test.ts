import { expect, test } from 'vitest';
import { docsHeaders, SECURITY_HEADERS, securityHeaders } from './security-headers.ts';

const tls = { cert: 'a', key: 'b' };

test.each([
  ['plain HTTP', { tls: undefined, publicUrl: undefined }, false],
  ['its own TLS', { tls, publicUrl: undefined }, true],
  ['TLS of a proxy', { tls: undefined, publicUrl: 'https://muster.test' }, true],
  ['plain HTTP from a proxy', { tls, publicUrl: 'http://muster.test' }, false],
])('browsers are told to stay with HTTPS where they came by it: %s', (_, config, told) => {
  const headers = securityHeaders(config);
  expect(headers).toMatchObject(SECURITY_HEADERS);
  expect('strict-transport-security' in headers).toBe(told);
  expect('strict-transport-security' in docsHeaders(config)).toBe(told);
});

test('the page may load its own files and nothing else; nothing else may load anything', () => {
  const policy = docsHeaders({ tls: undefined, publicUrl: undefined })['content-security-policy'];
  expect(policy).toMatch(/script-src 'self';/);
  expect(policy).not.toMatch(/script-src[^;]*unsafe|https?:|\*/);
  expect(SECURITY_HEADERS['content-security-policy']).toBe("default-src 'none'; frame-ancestors 'none'");
  expect(Object.isFrozen(SECURITY_HEADERS)).toBe(true);
});
