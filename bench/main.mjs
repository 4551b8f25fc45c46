// How fast Muster is, against what it stands on (bare Postgres, bare hono) and with --peers beside other queues on the same Postgres.
// Subjects take turns in every round, so that what else the machine does falls on all of them; trust ratios, not absolutes.
// Usage: npm run bench [-- <row>… --rounds=3 --tasks=50000 …]      npm run bench:peers [-- the same]      docs/performance.md
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { load } from './cpu.mjs';
import { judge, report } from './report.mjs';
import { depthRows } from './rows/depth.mjs';
import { drainRows } from './rows/drain.mjs';
import { fleetRows } from './rows/fleet.mjs';
import { latencyRows } from './rows/latency.mjs';
import { poisonRows } from './rows/poison.mjs';
import { submitRows } from './rows/submit.mjs';
import { openStage } from './stage.mjs';

const ROWS = [...drainRows, ...submitRows, ...latencyRows, ...fleetRows, ...depthRows, ...poisonRows];
const PEERS = ['graphile-worker', 'pg-boss'];
const WARM_UP = 0.2;
const SIZES = {
  rounds: 3,
  tasks: 50_000,
  agents: 100_000,
  connections: 5_000,
  seconds: 10,
  polls: 15_000,
  depth: 1_000_000,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: 'boolean' },
    ...Object.fromEntries(
      Object.entries(SIZES).map(([name, value]) => [name, { type: 'string', default: String(value) }]),
    ),
  },
});
const sizes = Object.fromEntries(Object.keys(SIZES).map((name) => [name, Number(values[name])]));
const unknown = positionals.filter((name) => !ROWS.some((row) => row.name === name));
if (unknown.length > 0) {
  console.error(`there is no row ${unknown.join(', ')}; there are ${ROWS.map(({ name }) => name).join(', ')}`);
  process.exit(1);
}
const rows = ROWS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const wanted = values.peers ? ['muster', ...PEERS] : ['muster', 'hono', 'postgres', 'unfolded'];
const needed = wanted.filter((name) => rows.some(({ among }) => among.includes(name)));

const inTurn = (all, n) => [...all.slice(n % all.length), ...all.slice(0, n % all.length)];

/** All rounds of a row; by subject, the figures of each. */
async function measure(row, stage) {
  const taking = stage.subjects.filter(({ name }) => row.among.includes(name));
  const results = new Map(taking.map((subject) => [subject, { lacks: row.lacks?.(subject), rounds: [] }]));
  const able = taking.filter((subject) => !results.get(subject).lacks);
  if (row.rounds !== 1)
    for (const subject of able) await row.round(subject, { ...sizes, tasks: sizes.tasks * WARM_UP }, stage);
  for (let n = 0; n < (row.rounds ?? sizes.rounds); n += 1) {
    // Who goes first pays for what was before: that is another each round.
    for (const subject of inTurn(able, n).filter((it) => !results.get(it).lacks)) {
      await stage.settle();
      try {
        results.get(subject).rounds.push(await row.round(subject, sizes, stage));
      } catch (error) {
        // A peer that gives up on a busy machine is not to end the others.
        results.get(subject).lacks = `it failed: ${error.message.split('\n')[0]}`;
        await subject.rest().catch(() => {});
      }
    }
  }
  return new Map([...results].map(([{ name }, it]) => [name, it]));
}

const stage = await openStage(needed);
console.log(
  `Node ${process.version}, Postgres ${stage.version}, ${cpus().length} cores, load ${load()}; median [min..max] of ${sizes.rounds} rounds`,
);
try {
  for (const row of rows) {
    const began = load();
    const results = await measure(row, stage);
    console.log(`\n${row.name}: ${row.title} (load ${began} to ${load()})`);
    for (const line of [...report(results), ...judge(row, results)]) console.log(`  ${line}`);
  }
} finally {
  await stage.close();
}
