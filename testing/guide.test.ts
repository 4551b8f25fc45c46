import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../docs/${path}`, import.meta.url), 'utf8');

test.each(['examples/month.test.ts', 'examples/ramp.yaml'])('the guide shows %s as it is run', (path) => {
  expect(read('testing.md')).toContain(`\n${read(path)}\`\`\``);
});
