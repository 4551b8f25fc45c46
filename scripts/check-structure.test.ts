import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { checkStructure } from './check-structure.mjs';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

/** What the check says of a tree of these files. */
function findingsIn(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'muster-structure-'));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return checkStructure(root);
}

const clean = {
  'shared/errors.ts': `export const a = 1;`,
  'server/schema/tasks.ts': `export const tasks = sql\`x\`;`,
  'server/platform/ctx.ts': `import { a } from '@muster/shared/errors';`,
  'server/tasks/store.ts': `import type { X } from '../schema/tasks.ts';\nconst q = sql\`with c as (select muster_now() t) select 1\`;`,
  'server/tasks/routes.ts': `import { Hono } from 'hono';\nimport * as store from './store.ts';`,
  'server/app.ts': `import { routes } from './tasks/routes.ts';\nimport '@hono/node-server';`,
  'agent/index.ts': `export { a } from '@muster/shared/errors';`,
  'testing/index.ts': `import { app } from '@muster/server/app';\nawait sql\`select 1\`;`,
  'e2e/life.test.ts': `import { a } from '@muster/testing';`,
};

test('a house in order has no findings', () => {
  expect(findingsIn(clean)).toEqual([]);
});

const planted: [what: string, files: Record<string, string>, findings: (string | RegExp)[]][] = [
  [
    'a later slice',
    { 'server/agents/a.ts': `\nimport {\n  x,\n} from '../tasks/store.ts';` },
    ['server/agents/a.ts:4 order:'],
  ],
  ['a page at the root', { 'server/tasks/b.ts': `import '../app.ts';` }, ['server/tasks/b.ts:1 order:']],
  ['a slice nobody knows', { 'server/misc/a.ts': '' }, ['server/misc/a.ts:1 order:']],
  ['a stray page at the root', { 'server/extra.ts': '' }, ['server/extra.ts:1 order:']],
  ['shared reaching up', { 'shared/a.ts': `export * from '@muster/agent';` }, ['shared/a.ts:1 workspace:']],
  [
    'an agent that knows the server',
    { 'agent/a.ts': `await import('@muster/server/app')` },
    ['agent/a.ts:1 workspace:'],
  ],
  ['testing on e2e', { 'testing/a.ts': `import '../e2e/life.test.ts';` }, ['testing/a.ts:1 workspace:']],
  ['e2e inside the server', { 'e2e/a.test.ts': `import '@muster/server/app';` }, ['e2e/a.test.ts:1 workspace:']],
  ['a path into a neighbour', { 'agent/b.ts': `import '../shared/errors.ts';` }, ['agent/b.ts:1 workspace:']],
  [
    'SQL in a verb',
    { 'server/tasks/a.ts': `const rows = await hot<Row[]>\`\n  select 1\`;` },
    ['server/tasks/a.ts:1 sql:'],
  ],
  ['a fragment in a route', { 'server/tasks/routes.ts': `const f = sql\`a = 1\`;` }, ['server/tasks/routes.ts:1 sql:']],
  ['unsafe SQL in an agent', { 'agent/a.ts': `\ndb.unsafe('drop');` }, ['agent/a.ts:2 sql:']],
  ['hono in a verb', { 'server/tasks/a.ts': `import type { Context } from 'hono';` }, ['server/tasks/a.ts:1 hono:']],
  ['hono in the platform', { 'server/platform/loop.ts': `import 'hono/cors';` }, ['server/platform/loop.ts:1 hono:']],
  [
    'a clock in a WHERE',
    { 'server/tasks/store.ts': `sql\`delete from x where t < muster_now()\`` },
    ['server/tasks/store.ts:1 clock:'],
  ],
  ['a file of anything', { 'agent/utils.ts': '' }, ['agent/utils.ts:1 name:']],
  ['a barrel', { 'server/tasks/index.ts': '' }, ['server/tasks/index.ts:1 barrel:']],
  ['a long file', { 'agent/a.ts': 'x;\n'.repeat(301) }, ['agent/a.ts:1 length: 301 lines']],
  [
    'a circle, of types too',
    { 'shared/a.ts': `import type { B } from './b.ts';`, 'shared/b.ts': `\nexport { a } from './a.ts';` },
    ['shared/b.ts:2 cycle: shared/a.ts -> shared/b.ts -> shared/a.ts'],
  ],
];

test.each(planted)('finds %s', (_, files, findings) => {
  const found = findingsIn({ ...clean, ...files });
  expect(found).toHaveLength(findings.length);
  for (const [n, start] of findings.entries()) expect(found[n]).toMatch(start);
});

test('tests may import what they test from anywhere, but comments are no code', () => {
  expect(
    findingsIn({
      'server/agents/a.test.ts': `import '../tasks/store.ts';\nimport { startCoordinator } from '@muster/testing';\nawait sql\`select muster_now()\`;`,
      'server/tasks/a.ts': `// import './routes.ts' and sql\`x\`\n/**\n * import x from '../ops/a.ts'; muster_now()\n */\nconst a = 1; // sql\`x\``,
    }),
  ).toEqual([]);
});
