// What Muster's trust would do for your own agents, beside believing everybody, a fixed quorum and BOINC's adaptive replication.
// Usage: npm run trust:sim -- --population mixed.json [--seed 1] [--seeds 1] [--json | --markdown]      docs/trust.md says what the file holds
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type Population, populationSchema, problemsOf } from '@muster/testing/trust/population';
import { markdown, plain, summarise, tableOf } from '@muster/testing/trust/report';
import { SCHEMES, type SchemeName, simulate } from '@muster/testing/trust/simulate';
import { progressBar } from './progress.ts';

const USAGE = 'npm run trust:sim -- --population <file.json> [--seed 1] [--seeds 1] [--json | --markdown]';

function refuse(...lines: string[]): never {
  for (const line of lines) console.error(line);
  process.exit(1);
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        population: { type: 'string' },
        seed: { type: 'string', default: '1' },
        seeds: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        markdown: { type: 'boolean', default: false },
      },
    });
    const { population, json, markdown: asMarkdown } = values;
    if (!population) return refuse('which population? --population names a JSON file', USAGE);
    if (json && asMarkdown) return refuse('--json and --markdown: one of them', USAGE);
    return { population, json, asMarkdown, seed: natural('seed', values.seed), seeds: natural('seeds', values.seeds) };
  } catch (error) {
    return refuse((error as Error).message, USAGE);
  }
}

function natural(name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) refuse(`--${name} ${text} is not a whole number from 1`, USAGE);
  return Number(text);
}

async function readPopulation(file: string): Promise<Population> {
  const text = await readFile(file, 'utf8').catch((error) => refuse(`cannot read ${file}: ${error.message}`));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    refuse(`${file} is not JSON: ${(error as Error).message}`);
  }
  const problems = problemsOf(value);
  if (problems.length > 0) refuse(...problems.map((problem) => `${file}: ${problem}`));
  return populationSchema.parse(value);
}

const options = readOptions();
const population = await readPopulation(options.population);
const names = Object.keys(SCHEMES) as SchemeName[];
const bar = progressBar(names.length * options.seeds);
const rows = names.map((name) => ({
  name,
  summary: summarise(
    Array.from({ length: options.seeds }, (_, n) => {
      const outcome = simulate(population, name, options.seed + n, bar.at);
      bar.next();
      return outcome;
    }),
  ),
}));
bar.end();

const { seed, seeds } = options;
const about = `${population.name}: ${population.agents} agents, ${population.anchors} of them anchors, ${population.tasks} tasks, seeds ${seed} to ${seed + seeds - 1}`;
const table = tableOf(rows, 'scheme');
if (options.json) console.log(JSON.stringify({ population, seed, seeds, schemes: rows }, null, 2));
else if (options.asMarkdown) console.log(`${about}\n\n${markdown(table)}`);
else console.log(`${about}\n\n${plain(table)}`);
