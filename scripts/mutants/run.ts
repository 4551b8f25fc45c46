import { POSTGRES_ENV, startTestPostgres } from '@muster/testing/postgres';
import { type Mutant, mutate, type Named } from './mutant.ts';
import { MUTANTS } from './seeded.ts';
import { type Outcome, runTests } from './tests.ts';
import { copyTree } from './tree.ts';

/** A mutant is a product that works, or anything would catch it: these pass with each. */
const ALIVE: readonly Named[] = [
  { file: 'e2e/main-job.test.ts', test: 'a task is assigned to an agent process, executed and completed' },
  { file: 'e2e/schedules.test.ts', test: 'a daily schedule fires each day at its hour in its time zone, by the clock' },
];

const shown = ({ file, of, test }: Named) => `\`${file}\`: ${of ? `${of} … ` : ''}${test}`;
const seconds = (since: number) => ((performance.now() - since) / 1_000).toFixed(0);

/** Seeds each bug into a copy of the tree and runs the tests that are to fail by it. Prints a table, and answers whether all was as it should be. */
export async function proveMutants({ only, workers }: { only: readonly string[]; workers: number }): Promise<boolean> {
  const mutants = MUTANTS.filter(({ name }) => only.some((words) => name.includes(words)));
  const tree = copyTree();
  // One for all runs.
  const postgres = await startTestPostgres();
  process.env[POSTGRES_ENV[18]] = postgres.url;
  try {
    const sound = await proveSound(tree.root, mutants, workers);
    console.log('\n| mutant | the bug | caught by | s |\n| --- | --- | --- | --- |');
    let caught = 0;
    for (const mutant of mutants) if (await prove(tree.root, mutant, workers)) caught += 1;
    console.log(`\n${caught} of ${mutants.length} caught`);
    return sound && mutants.length > 0 && caught === mutants.length;
  } finally {
    await postgres.stop();
    tree.remove();
  }
}

/** Where nothing was seeded, the same tests pass. */
async function proveSound(root: string, mutants: readonly Mutant[], workers: number): Promise<boolean> {
  const began = performance.now();
  const named = [...new Set([...ALIVE, ...mutants.flatMap(({ caughtBy }) => caughtBy)])];
  const failed = (await runTests(root, named, workers)).filter(({ status }) => status !== 'passed');
  for (const it of failed) console.log(`${it.status.toUpperCase()} WITHOUT ANY MUTANT: ${shown(it)}: ${it.why}`);
  console.log(`${named.length - failed.length} of ${named.length} tests pass without a mutant (${seconds(began)} s)`);
  return failed.length === 0;
}

async function prove(root: string, mutant: Mutant, workers: number): Promise<boolean> {
  const began = performance.now();
  const restore = mutate(root, mutant);
  const outcomes = await runTests(root, [...mutant.caughtBy, ...ALIVE], workers).finally(restore);
  const failing = outcomes.slice(0, mutant.caughtBy.length);
  const dead = outcomes.slice(mutant.caughtBy.length).filter(({ status }) => status !== 'passed');
  const cell = [
    ...failing.map((it) => `${VERDICTS[it.status]}${shown(it)}${it.why && ` (${said(it)})`}`),
    ...dead.map((it) => `**DOES NOT WORK AT ALL** ${shown(it)} (${said(it)})`),
  ].join('<br>');
  console.log(`| ${mutant.name} | ${mutant.why} | ${cell} | ${seconds(began)} |`);
  return dead.length === 0 && failing.every(({ status }) => status === 'failed');
}

/** What is said of a test that was to fail. */
const VERDICTS: Record<Outcome['status'], string> = {
  failed: '',
  passed: '**SURVIVES** ',
  'not run': '**WAS NOT RUN** ',
};

/** What a test failed with, as a cell of a table bears it. */
const said = ({ why }: Outcome) => `\`${why.replace(/[`|]/g, "'").slice(0, 160)}\``;
