import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { unsafeSettings } from './unsafe-settings.ts';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

const blankIsUnset = (value: unknown) => (value === '' ? undefined : value);
const setting = <T extends z.ZodType>(schema: T) => z.preprocess(blankIsUnset, schema);
const yesOrNo = (what: string) =>
  setting(z.enum(['true', 'false']).default('false'))
    .transform((value) => value === 'true')
    .describe(`true or false: whether ${what}`);

/** Every setting of a coordinator: what it is for, what is allowed, what holds when it is not given. */
export const SETTINGS = z
  .object({
    MUSTER_HOST: setting(z.string().default('127.0.0.1')).describe('an address to listen on'),
    MUSTER_PORT: setting(z.coerce.number().int().min(0).max(65_535).default(8000)).describe(
      'a port to listen on, a whole number from 0 (any free port) to 65535',
    ),
    MUSTER_DATA_DIR: setting(z.string().default('.muster')).describe('a folder for keys and the embedded Postgres'),
    DATABASE_URL: setting(
      z
        .string()
        .regex(/^postgres(ql)?:\/\//)
        .optional(),
    ).describe('a postgres:// URL of a server 15 or newer; without it an embedded one runs in the data folder'),
    MUSTER_ADMIN_KEY: setting(z.string().min(24).max(256).regex(/^\S+$/).optional()).describe(
      'the admin key, at least 24 characters without blanks; without it one is made and kept in the data folder',
    ),
    MUSTER_SIGNING_KEY: setting(z.string().optional()).describe(
      'the Ed25519 private key tokens are signed with, as a JWK; without it one is made and kept in the data folder',
    ),
    MUSTER_TLS_CERT: setting(z.string().optional()).describe('PEM file of the certificate to serve HTTPS with'),
    MUSTER_TLS_KEY: setting(z.string().optional()).describe('PEM file of its private key'),
    MUSTER_PUBLIC_URL: setting(
      z
        .url({ protocol: /^https?$/ })
        .regex(/^https?:\/\/[^/?#@\\]+\/?$/i)
        .optional(),
    ).describe('the http(s) URL callers know the coordinator by, without a path, a query or a user'),
    MUSTER_BEHIND_PROXY: yesOrNo('a proxy in front terminates TLS and sets X-Forwarded-For'),
    MUSTER_REQUIRE_DPOP: yesOrNo('agents must prove that they hold their key on every request (RFC 9449)'),
    MUSTER_RETENTION_DAYS: setting(z.coerce.number().int().min(0).max(36_500).default(30)).describe(
      'for how many days tasks that have ended are kept with their runs, and what schedules did, a whole number; 0 keeps them for ever',
    ),
    MUSTER_MIN_SCHEDULE_SECONDS: setting(z.coerce.number().int().min(1).max(86_400).default(1)).describe(
      'how many seconds the due times of a schedule must be apart at least, a whole number from 1 to 86400',
    ),
    MUSTER_MAX_CLASSES: setting(z.coerce.number().int().min(1).max(1_000_000).default(10_000)).describe(
      'how many different requirements (capability, labels, slot_cost) the tasks of an owner may have, a whole number from 1 to 1000000',
    ),
    MUSTER_LOG_LEVEL: setting(z.enum(LOG_LEVELS).default('info')).describe(`one of ${LOG_LEVELS.join(', ')}`),
  })
  .refine((env) => !env.MUSTER_TLS_CERT === !env.MUSTER_TLS_KEY, {
    path: ['MUSTER_TLS_KEY'],
    error: 'MUSTER_TLS_CERT and MUSTER_TLS_KEY go together',
  });

const SECRET = new Set(['MUSTER_ADMIN_KEY', 'MUSTER_SIGNING_KEY', 'DATABASE_URL']);

/** The settings as the coordinator carries them. */
export interface Config {
  host: string;
  port: number;
  dataDir: string;
  databaseUrl: string | undefined;
  adminKey: string | undefined;
  signingKey: string | undefined;
  tls: { cert: string; key: string } | undefined;
  /** Where callers find the coordinator, `https://muster.example`, when that is not where it listens. */
  publicUrl: string | undefined;
  behindProxy: boolean;
  requireDpop: boolean;
  /** How long what has ended is kept; 0: for ever. */
  retentionDays: number;
  /** How far apart a schedule's due times must be at least, in seconds. */
  minScheduleSeconds: number;
  /** How many different requirements the tasks of an owner may have. */
  maxClasses: number;
  logLevel: (typeof LOG_LEVELS)[number];
}

/** A setting that cannot be used. The message names it, its value (unless secret) and what is allowed. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** Reads the settings from an environment; throws a {@link ConfigError} that names every wrong one. */
export function parseConfig(env: Record<string, string | undefined>): Config {
  const parsed = SETTINGS.safeParse(env);
  if (!parsed.success)
    throw new ConfigError([...new Set(parsed.error.issues.map((issue) => explain(issue, env)))].join('\n'));
  const it = parsed.data;
  const unsafe = unsafeSettings(it);
  if (unsafe.length > 0) throw new ConfigError(unsafe.join('\n'));
  return {
    host: it.MUSTER_HOST,
    port: it.MUSTER_PORT,
    dataDir: it.MUSTER_DATA_DIR,
    databaseUrl: it.DATABASE_URL,
    adminKey: it.MUSTER_ADMIN_KEY,
    signingKey: it.MUSTER_SIGNING_KEY,
    tls:
      it.MUSTER_TLS_CERT && it.MUSTER_TLS_KEY
        ? { cert: readPem('MUSTER_TLS_CERT', it.MUSTER_TLS_CERT), key: readPem('MUSTER_TLS_KEY', it.MUSTER_TLS_KEY) }
        : undefined,
    publicUrl: it.MUSTER_PUBLIC_URL && new URL(it.MUSTER_PUBLIC_URL).origin,
    behindProxy: it.MUSTER_BEHIND_PROXY,
    requireDpop: it.MUSTER_REQUIRE_DPOP,
    retentionDays: it.MUSTER_RETENTION_DAYS,
    minScheduleSeconds: it.MUSTER_MIN_SCHEDULE_SECONDS,
    maxClasses: it.MUSTER_MAX_CLASSES,
    logLevel: it.MUSTER_LOG_LEVEL,
  };
}

function explain(issue: z.core.$ZodIssue, env: Record<string, string | undefined>): string {
  const name = String(issue.path[0]);
  if (issue.code === 'custom') return issue.message;
  // A URL with a user in it has a password too.
  const hidden = SECRET.has(name) || env[name]?.includes('@');
  const value = hidden ? 'its value (not shown)' : JSON.stringify(env[name]);
  const allowed = SETTINGS.shape[name as keyof typeof SETTINGS.shape]?.description ?? issue.message;
  return `${name}: ${value} is not allowed; allowed is ${allowed}`;
}

function readPem(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(
      `${name}: ${JSON.stringify(path)} cannot be read (${(error as NodeJS.ErrnoException).code}); it is a PEM file`,
    );
  }
}
