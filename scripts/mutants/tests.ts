import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Named } from './mutant.ts';

/** What became of a test that was named. `why`: the first line of what it failed with, or of why it did not run. */
export interface Outcome extends Named {
  status: 'passed' | 'failed' | 'not run';
  why: string;
}

/** What vitest reports, of which this is read. */
export interface Report {
  testResults: { name: string; message: string; assertionResults: Assertion[] }[];
}
interface Assertion {
  fullName: string;
  status: string;
  failureMessages: string[];
}

/** So long a test may take that does not say, in milliseconds; and a run of some. A mutant may make one wait for ever. */
const TEST_MS = 120_000;
const PATIENCE_MS = 20 * 60_000;

/** Runs the tests that are named, and no others, in the tree at `root`. */
export async function runTests(root: string, named: readonly Named[], workers: number): Promise<Outcome[]> {
  const report = join(root, 'report.json');
  rmSync(report, { force: true });
  const files = [...new Set(named.map(({ file }) => file))];
  const pattern = named.map(patternOf).join('|');
  const output = await vitest(root, workers, [
    ...['run', ...files, '-t', pattern, `--testTimeout=${TEST_MS}`],
    ...['--reporter=json', `--outputFile=${report}`],
  ]);
  const { testResults } = reportIn(report, output);
  return named.map((it) =>
    outcomeOf(
      it,
      testResults.find(({ name }) => name === join(root, it.file)),
    ),
  );
}

/** What the report of its file says of a test. One that is not there, or was not come to, is no test that failed. */
export function outcomeOf(named: Named, result: Report['testResults'][number] | undefined): Outcome {
  const pattern = new RegExp(patternOf(named));
  const ran = result?.assertionResults.filter((it) => pattern.test(it.fullName) && isOver(it.status)) ?? [];
  const failed = ran.find(({ status }) => status === 'failed');
  const status = failed ? 'failed' : ran.length > 0 ? 'passed' : 'not run';
  const [why = ''] = failed?.failureMessages ?? [status === 'passed' ? '' : result?.message || 'there is no such test'];
  return { ...named, status, why: why.split('\n')[0]! };
}

const patternOf = ({ of = '', test }: Named): string => `${escaped(of)}.*${escaped(test)}`;
const isOver = (status: string): boolean => status === 'passed' || status === 'failed';
const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function reportIn(file: string, output: string): Report {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    throw new Error(`vitest left no report. It said:\n${output}`);
  }
}

/** What it said; whether tests failed is in its report. */
function vitest(root: string, workers: number, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
    cwd: root,
    // As an option it would not reach the projects of the configuration.
    env: { ...process.env, VITEST_MAX_WORKERS: String(workers) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  const impatience = setTimeout(() => child.kill(), PATIENCE_MS);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(impatience);
      resolve(output);
    });
  });
}
