import type { Config } from './config.ts';

const DENY_ALL = "default-src 'none'; frame-ancestors 'none'";

/** On every answer, so that a browser makes nothing of it but data. */
export const SECURITY_HEADERS = Object.freeze({
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'content-security-policy': DENY_ALL,
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
});

/** A year, which is what browsers ask for before they take it seriously. */
const HSTS = 'max-age=31536000';

/** What swagger-ui needs: its own files, the pictures in its style sheet, and the styles it writes into its elements. */
const DOCS_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The headers of every answer; where callers come by HTTPS, browsers are told to come no other way. */
export function securityHeaders({ tls, publicUrl }: Pick<Config, 'tls' | 'publicUrl'>): Record<string, string> {
  const https = publicUrl === undefined ? tls !== undefined : publicUrl.startsWith('https:');
  return { ...SECURITY_HEADERS, ...(https ? { 'strict-transport-security': HSTS } : {}) };
}

/** The headers of the page at /docs and of what it loads. */
export const docsHeaders = (config: Pick<Config, 'tls' | 'publicUrl'>): Record<string, string> => ({
  ...securityHeaders(config),
  'content-security-policy': DOCS_POLICY,
});
