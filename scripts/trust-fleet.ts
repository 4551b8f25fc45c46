// A real fleet over HTTP at work under Muster's trust, beside what the model says of the same population.
// Usage: npm run trust:fleet -- [--population docs/examples/trust-fleet.json] [--tasks N] [--seed 1] [--seeds 5] [--json | --markdown] [--write]
import { parseArgs } from 'node:util';
import { createSupervisor } from '@muster/testing';
import { playFleet } from '@muster/testing/trust/fleet';
import { markdown, plain, summarise, tableOf } from '@muster/testing/trust/report';
import { SCHEMES, type SchemeName, simulate } from '@muster/testing/trust/simulate';
import { natural, readPopulation, refuse } from './population-file.ts';
import { progressBar } from './progress.ts';
import { writeTables } from './tables.ts';

const USAGE = `npm run trust:fleet -- [--population FILE] [--tasks N] [--seed 1] [--seeds 5] [--json | --markdown] [--write]

  --population  who the agents are (docs/trust.md); docs/examples/trust-fleet.json unless said
  --tasks       how many, over what the file says
  --seed        the fleet's, and the first of the model's
  --seeds       how many times the model is played
  --write       puts the table into docs/trust.md`;
const DOCUMENT = new URL('../docs/trust.md', import.meta.url);
const MIXED = new URL('../docs/examples/trust-fleet.json', import.meta.url).pathname;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        population: { type: 'string', default: MIXED },
        tasks: { type: 'string' },
        seed: { type: 'string', default: '1' },
        seeds: { type: 'string', default: '5' },
        json: { type: 'boolean', default: false },
        markdown: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
      },
    });
    if (values.json && values.markdown) return refuse('--json and --markdown: one of them', USAGE);
    const number = (name: 'tasks' | 'seed' | 'seeds') =>
      values[name] === undefined ? undefined : natural(name, values[name], USAGE);
    return { ...values, tasks: number('tasks'), seed: number('seed')!, seeds: number('seeds')! };
  } catch (error) {
    return refuse((error as Error).message, USAGE);
  }
}

const { population: file, tasks, seed, seeds, json, markdown: asMarkdown, write } = readOptions();
const read = await readPopulation(file);
const population = { ...read, tasks: tasks ?? read.tasks };
const supervisor = createSupervisor();
const bar = progressBar(1);
const began = performance.now();
const fleet = await supervisor
  .coordinator()
  .then((coordinator) => playFleet(population, coordinator, seed, bar.at))
  .finally(() => supervisor.stop());
const seconds = (performance.now() - began) / 1_000;
bar.end();

const modelled = (name: SchemeName) => ({
  name: name === 'Muster' ? "Muster's model" : `model of ${name}`,
  summary: summarise(Array.from({ length: seeds }, (_, n) => simulate(population, name, seed + n))),
});
const rows = [
  { name: 'Muster, over HTTP', summary: summarise([fleet]) },
  ...(['Muster', ...Object.keys(SCHEMES).filter((name) => name !== 'Muster')] as SchemeName[]).map(modelled),
];
const table = tableOf(rows, 'who is believed');
const about = `${population.name}: ${population.agents} agents, ${population.anchors} of them anchors, ${population.tasks} tasks; the fleet with seed ${seed} in ${Math.round(seconds)} s, the model with seeds ${seed} to ${seed + seeds - 1}`;
const section = `${about}.\n\n${markdown(table)}`;
if (write) await writeTables(DOCUMENT, { fleet: section });
if (json) console.log(JSON.stringify({ population, seed, seeds, seconds, rows }, null, 2));
else console.log(asMarkdown ? section : `${about}\n\n${plain(table)}`);
