import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { populationSchema } from '@muster/testing/trust/population';
import { simulate } from '@muster/testing/trust/simulate';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-trust-'));
});
afterAll(() => rm(folder, { recursive: true }));

const said = (...options: string[]) =>
  new Promise<{ code: number; out: string; err: string }>((resolve) => {
    execFile(
      process.execPath,
      ['--import', 'tsx', '--conditions=development', 'scripts/trust-sim.ts', ...options],
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });

test('the simulation prints what a population came to, the same for the same seed', async () => {
  const population = { agents: 40, tasks: 2_000, bad: [{ persona: 'saboteur', share: 0.2 }] };
  const file = join(folder, 'mixed.json');
  await writeFile(file, JSON.stringify(population));
  const [json, table] = await Promise.all([
    said('--population', file, '--seed', '7', '--json'),
    said('--population', file, '--seed', '7', '--markdown'),
  ]);
  const { schemes } = JSON.parse(json.out);
  expect(schemes.map(({ name }: { name: string }) => name)).toEqual(['none', 'quorum-2', 'BOINC adaptive', 'Muster']);
  const outcome = simulate(populationSchema.parse(population), 'Muster', 7);
  expect(schemes[3].summary.work.mean).toBe(outcome.work);
  expect(table.out).toContain(`| ${outcome.work.toFixed(3)} |`);
});

test('a file or an option that is wrong ends it with what is wrong', async () => {
  const file = join(folder, 'wrong.json');
  await writeFile(file, '{"agents": 3}');
  const [wrong, none, both] = await Promise.all([
    said('--population', file),
    said('--population', join(folder, 'none.json')),
    said('--population', file, '--json', '--markdown'),
  ]);
  expect(wrong).toMatchObject({
    code: 1,
    out: '',
    err: `${file}: agents: Too small: expected number to be >=10 (is 3)\n`,
  });
  expect(none).toMatchObject({ code: 1, err: expect.stringContaining('none.json') });
  expect(both).toMatchObject({ code: 1, err: expect.stringContaining('--json and --markdown: one of them') });
});
