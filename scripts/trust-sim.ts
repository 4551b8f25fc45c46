// What Muster's trust would do for your own agents, beside believing everybody, a fixed quorum and BOINC's adaptive replication.
// Usage: npm run trust:sim -- --population mixed.json [--seed 1] [--seeds 1] [--json | --markdown]      docs/trust.md says what the file holds
import { parseArgs } from 'node:util';
import { markdown, plain, summarise, tableOf } from '@muster/testing/trust/report';
import { SCHEMES, type SchemeName, simulate } from '@muster/testing/trust/simulate';
import { natural, readPopulation, refuse } from './population-file.ts';
import { progressBar } from './progress.ts';

const USAGE = 'npm run trust:sim -- --population <file.json> [--seed 1] [--seeds 1] [--json | --markdown]';

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
    const number = (name: 'seed' | 'seeds') => natural(name, values[name], USAGE);
    return { population, json, asMarkdown, seed: number('seed'), seeds: number('seeds') };
  } catch (error) {
    return refuse((error as Error).message, USAGE);
  }
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
