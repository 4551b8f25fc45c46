// `npm run proof -- SUITE [--seed N] [--scale N] [--slack N] [--json]`: what is promised, proved at full size. docs/reliability.md says what each suite does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** @type {Record<string, { tests: string[], env?: Record<string, string> }>} the tests of each suite; CI runs them at a fiftieth of the size */
const SUITES = {
  kills: { tests: ['e2e/proof/kills.test.ts'] },
  ticks: { tests: ['e2e/proof/ticks.test.ts'] },
  overload: { tests: ['e2e/proof/overload.test.ts'] },
  outages: { tests: ['e2e/proof/outages.test.ts'] },
  invariants: {
    tests: ['e2e/invariants', 'e2e/batch-atomicity.test.ts', 'server/audit/tampering.test.ts'],
    env: { TAMPERINGS: '1000' },
  },
  limits: { tests: ['server/dispatch/store/limits.test.ts'], env: { LIMITED: '100000' } },
};

/** What has no tests of its own, but options: bugs that are seeded into a copy of the tree. */
const MUTANTS = ['--import', 'tsx', '--conditions=development', 'scripts/mutants/main.ts'];

const USAGE = `npm run proof -- ${Object.keys(SUITES).join(' | ')}
npm run proof -- mutants [--only WORDS …] [--workers N]

  --seed   for what chance decides: the same seed, the same load and the same faults in the same order
  --scale  how many fiftieths of the whole size, 50 unless said
  --slack  how many times as long as promised things may take, on a machine with other things to do
  --json   the report as JSON, on standard output, and all else on standard error`;

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
        scale: { type: 'string', default: '50' },
        slack: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
      },
    });
    const suite = SUITES[positionals[0] ?? ''];
    const numbers = [values.seed, values.scale, values.slack].map(Number);
    if (suite && positionals.length === 1 && numbers.every((n) => n >= 0)) return { ...values, suite };
  } catch {
    // Said below.
  }
  console.error(USAGE);
  process.exit(2);
}

/**
 * The exit code of a process, which is told to end where this one is.
 * @param {import('node:child_process').ChildProcess} child
 */
async function ended(child) {
  process.once('SIGTERM', () => child.kill());
  const [code] = await once(child, 'exit');
  return code ?? 1;
}

if (process.argv[2] === 'mutants')
  process.exit(await ended(spawn(process.execPath, [...MUTANTS, ...process.argv.slice(3)], { stdio: 'inherit' })));

const { suite, seed, scale, slack, json } = options();
const folder = mkdtempSync(join(tmpdir(), 'muster-proof-'));
const report = join(folder, 'report.jsonl');
writeFileSync(report, '');
const env = { PROOF_SEED: seed, PROOF_SCALE: scale, PROOF_SLACK: slack, PROOF_REPORT: report, ...suite.env };
const vitest = spawn(
  join('node_modules', '.bin', 'vitest'),
  ['run', ...suite.tests, '--reporter=verbose', '--disable-console-intercept'],
  { env: { ...process.env, ...env }, stdio: ['ignore', json ? process.stderr : 'inherit', 'inherit'] },
);
const code = await ended(vitest);
const lines = readFileSync(report, 'utf8');
process.stdout.write(json ? `[${lines.trim().split('\n').join(',\n')}]\n` : `\n${lines}`);
rmSync(folder, { recursive: true });
process.exitCode = code === 0 ? 0 : 1;
