// Enforces the order of the house (CONTRIBUTING.md). It reads text: TypeScript 7 has no compiler API, and the types step has parsed every file already.
// Usage: node scripts/check-structure.mjs [root]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, posix, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';

/** @typedef {{ at: number, spec: string, target?: string }} Import */
/** @typedef {{ path: string, text: string, zone: string, slice?: string, isTest: boolean, imports: Import[] }} Source */
/** @typedef {{ at: number, what: string }} Finding what is wrong, and where in the text */

const SLICES =
  'schema platform audit events access agents trust tasks runs dispatch verification environments logs artifacts templates workflows schedules webhooks ops'.split(
    ' ',
  );
const SERVER_ROOT = ['main', 'start', 'coordinator', 'app', 'loops', 'dev'].map((name) => `server/${name}.ts`);
/** @type {Record<string, string[]>} which workspaces a workspace may import; folders that are not listed may import any */
const MAY_IMPORT = {
  shared: ['shared'],
  agent: ['agent', 'shared'],
  server: ['server', 'shared'],
  testing: ['testing', 'server', 'agent', 'shared'],
  e2e: ['e2e', 'testing', 'agent', 'shared'],
};
const BARRELS = ['shared/contract/index.ts', 'agent/index.ts', 'testing/index.ts'];
const MAX_LINES = 300;
const SQL_PLACES = [
  /^server\/\w+\/store(\.ts|\/[\w-]+\.ts)$/,
  /^server\/(events|audit)\/record\.ts$/,
  /^server\/schema\//,
  /^server\/platform\/(database|migrate|transition|clock|cluster|notify|look|idempotency|embedded-postgres\/start)\.ts$/,
  /^(testing|e2e|bench|scripts)\//,
];
const EDGE = /^(server\/(app|coordinator|platform\/(endpoint|errors|http[\w-]*|docs[\w-]*)|\w+\/routes)\.ts$|bench\/)/;
const SQL =
  /\bsql(<[^`]*?>)?`|\.unsafe\(|[\w\])](<[^`]*?>)?`\s*(select|with|insert|update|delete|create|alter|drop|set|lock|notify|truncate|analyze|vacuum|do)\s/gi;

/** @type {Record<string, (source: Source) => Finding[]>} */
const RULES = {
  order: ({ path, zone, slice, isTest, imports }) => {
    if (zone !== 'server' || isTest || SERVER_ROOT.includes(path)) return [];
    const rank = SLICES.indexOf(slice ?? '');
    if (rank < 0)
      return [{ at: 0, what: slice ? `slice ${slice} has no place in the order` : 'not one of the pages at the root' }];
    return imports.flatMap(({ at, target }) => {
      if (!target?.startsWith('server/')) return [];
      const other = SLICES.indexOf(sliceOf(target) ?? '');
      return other >= 0 && other <= rank ? [] : [{ at, what: `${slice} comes before ${target} and may not import it` }];
    });
  },
  workspace: ({ zone, isTest, imports }) =>
    imports.flatMap(({ at, spec, target }) => {
      const other = target && zoneOf(target);
      const allowed = MAY_IMPORT[zone];
      if (!other || !allowed || other === zone) return [];
      if (!allowed.includes(other) && (!isTest || zone === 'e2e'))
        return [{ at, what: `${zone} may not import ${other}` }];
      return spec.startsWith('.') ? [{ at, what: `import another workspace by its name, @muster/${other}` }] : [];
    }),
  sql: ({ path, text, isTest }) =>
    isTest || SQL_PLACES.some((place) => place.test(path)) ? [] : found(text, SQL, 'SQL lives in a store'),
  hono: ({ path, isTest, imports }) =>
    isTest || EDGE.test(path)
      ? []
      : imports
          .filter(({ spec }) => /^(@hono\/|hono(\/|$))/.test(spec))
          .map(({ at, spec }) => ({ at, what: `${spec} is for the edge` })),
  clock: ({ path, text, isTest }) =>
    isTest || !path.startsWith('server/') || path.startsWith('server/schema/')
      ? []
      : found(text, /(?<!\b(?:select|function)\s+)\bmuster_now\(\)/gi, 'read the clock once, as (select muster_now())'),
  name: ({ path }) =>
    /^(types|utils|helpers|common)\./.test(basename(path))
      ? [{ at: 0, what: 'name the file after what is in it' }]
      : [],
  barrel: ({ path }) =>
    /^index\./.test(basename(path)) && !BARRELS.includes(path)
      ? [{ at: 0, what: 'no barrels: import the file itself' }]
      : [],
  length: ({ text, isTest }) => {
    const lines = text.trimEnd().split('\n').length;
    return isTest || lines <= MAX_LINES
      ? []
      : [{ at: 0, what: `${lines} lines, at most ${MAX_LINES}: is this really one room?` }];
  },
};

/** Everything wrong under `root`, as `file:line rule: what`. @param {string} root */
export function checkStructure(root) {
  const sources = Object.keys({ ...MAY_IMPORT, scripts: [], bench: [] })
    .flatMap((folder) => filesIn(join(root, folder)))
    .map((file) => read(root, file));
  const findings = sources.flatMap((source) =>
    Object.entries(RULES).flatMap(([rule, check]) =>
      check(source).map(({ at, what }) => `${source.path}:${lineOf(source.text, at)} ${rule}: ${what}`),
    ),
  );
  return [...findings, ...cycles(sources)];
}

/** @param {string} folder @returns {string[]} */
function filesIn(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return /^(node_modules|dist|\..*)$/.test(entry.name) ? [] : filesIn(path);
    return /\.(ts|mts|js|mjs)$/.test(entry.name) && !entry.name.endsWith('.d.ts') ? [path] : [];
  });
}

/** @param {string} root @param {string} file @returns {Source} */
function read(root, file) {
  const path = relative(root, file).split(sep).join('/');
  const text = withoutComments(readFileSync(file, 'utf8'));
  return {
    path,
    text,
    zone: zoneOf(path),
    slice: sliceOf(path),
    isTest: /\.test\.\w+$/.test(path),
    imports: importsOf(path, text),
  };
}

/** @param {string} path */
const zoneOf = (path) => /** @type {string} */ (path.split('/')[0]);
/** @param {string} path */
const sliceOf = (path) => /^server\/([^/]+)\//.exec(path)?.[1];

/** Comments become spaces, so that what is left keeps its place. @param {string} text */
const withoutComments = (text) =>
  text.replace(/^\s*\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, ' '));

/** Imports and re-exports, of types too, static or not. @param {string} path @param {string} text @returns {Import[]} */
function importsOf(path, text) {
  const pattern = /^[ \t]*(?:import|export)\s[^'"`;=()]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\s*\(?\s*['"]([^'"]+)['"]/gm;
  return [...text.matchAll(pattern)].map((match) => {
    const spec = /** @type {string} */ (match[1] ?? match[2]);
    return { at: match.index + match[0].lastIndexOf(spec), spec, target: targetOf(path, spec) };
  });
}

/** The file of ours that an import names. @param {string} path @param {string} spec */
function targetOf(path, spec) {
  if (spec.startsWith('.')) return posix.join(posix.dirname(path), spec);
  const [, workspace, rest = 'index'] = /^@muster\/([^/]+)(?:\/(.+))?$/.exec(spec) ?? [];
  return workspace && `${workspace}/${rest}.ts`;
}

/** @param {string} text @param {RegExp} pattern @param {string} what @returns {Finding[]} */
const found = (text, pattern, what) => [...text.matchAll(pattern)].map((match) => ({ at: match.index, what }));

/** @param {string} text @param {number} at */
const lineOf = (text, at) => text.slice(0, at).split('\n').length;

/** Every import that closes a circle, found by walking depth first. @param {Source[]} sources */
function cycles(sources) {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const done = new Set();
  /** @type {string[]} */
  const findings = [];
  /** @param {string} path @param {string[]} trail */
  const walk = (path, trail) => {
    const source = byPath.get(path);
    if (!source || done.has(path)) return;
    for (const { at, target } of source.imports) {
      const start = target ? [...trail, path].indexOf(target) : -1;
      if (start >= 0) {
        const circle = [...trail, path]
          .slice(start)
          .concat(target ?? '')
          .join(' -> ');
        findings.push(`${path}:${lineOf(source.text, at)} cycle: ${circle}`);
      } else if (target) walk(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const { path } of sources) walk(path, []);
  return findings;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const findings = checkStructure(process.argv[2] ?? process.cwd());
  for (const finding of findings) console.error(finding);
  process.exitCode = findings.length ? 1 : 0;
}
