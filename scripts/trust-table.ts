// Plays the populations of docs/trust.md under every scheme and writes its tables. A minute of CPU; npm run check does not run it.
import { POPULATIONS } from '@muster/testing/trust/population';
import { markdown, type Summary, summarise, tableOf } from '@muster/testing/trust/report';
import { RANKS, type Routed, type Strategy, simulateRouting } from '@muster/testing/trust/routing';
import { SCHEMES, type SchemeName, simulate } from '@muster/testing/trust/simulate';
import { progressBar } from './progress.ts';
import { writeTables } from './tables.ts';

const file = new URL('../docs/trust.md', import.meta.url);
const SEEDS = [1, 2, 3, 4, 5];
const ANCHORS = 5;
const LOADS = [0.3, 0.6, 0.85];
const ROUTED_TASKS = 100_000;

/** Columns: a scheme, and how many anchors there are. */
const COLUMNS = [
  ...(Object.keys(SCHEMES) as SchemeName[]).map((scheme) => ({ scheme, anchors: 0 })),
  { scheme: 'Muster', anchors: ANCHORS },
] as const;

const bar = progressBar(POPULATIONS.length * COLUMNS.length * SEEDS.length);
const played = POPULATIONS.map((population) => ({
  name: population.name,
  summaries: COLUMNS.map(({ scheme, anchors }) =>
    summarise(
      SEEDS.map((seed) => {
        const outcome = simulate({ ...population, anchors }, scheme, seed, bar.at);
        bar.next();
        return outcome;
      }),
    ),
  ),
}));
bar.end();

/** Means only: a cell for each column of each population. */
function schemes(): string {
  const head = COLUMNS.map(({ scheme, anchors }) => (anchors ? `${scheme}, ${anchors} anchors` : scheme));
  const cell = ({ wrong_percent, work }: Summary) => `${wrong_percent!.mean.toFixed(3)} / ${work!.mean.toFixed(2)}`;
  return markdown([['population', ...head], ...played.map(({ name, summaries }) => [name, ...summaries.map(cell)])]);
}

/** All figures of one column. */
function detail(column: number): string {
  const rows = played.map(({ name, summaries }) => ({ name, summary: summaries[column]! }));
  return markdown(tableOf(rows, 'population'));
}

function routing(): string {
  const cell = (strategy: Strategy, load: number) => {
    const routed = SEEDS.map((seed) => simulateRouting(strategy, load, ROUTED_TASKS, seed));
    const mean = (figure: keyof Routed) => routed.reduce((sum, it) => sum + it[figure], 0) / SEEDS.length;
    return [mean('first_try_percent'), mean('newcomer_share'), mean('degraded_share')]
      .map((it) => it.toFixed(2))
      .join(' / ');
  };
  const head = LOADS.map((load) => `load ${load}`);
  const strategies = Object.keys(RANKS) as Strategy[];
  return markdown([['strategy', ...head], ...strategies.map((it) => [it, ...LOADS.map((load) => cell(it, load))])]);
}

const TABLES: Record<string, string> = {
  schemes: schemes(),
  muster: detail(COLUMNS.length - 2),
  anchors: detail(COLUMNS.length - 1),
  routing: routing(),
};
await writeTables(file, TABLES);
