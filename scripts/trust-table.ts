// Plays the populations of docs/trust.md under every scheme and writes its tables. Minutes; npm run check does not run it.
import { readFile, writeFile } from 'node:fs/promises';
import { POPULATIONS } from '@muster/testing/trust/population';
import { markdown, type Summary, shown, summarise, tableOf } from '@muster/testing/trust/report';
import { type Routed, STRATEGIES, type Strategy, simulateRouting } from '@muster/testing/trust/routing';
import { SCHEMES, type SchemeName, simulate } from '@muster/testing/trust/simulate';
import { progressBar } from './progress.ts';

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
const strategies = Object.keys(STRATEGIES) as Strategy[];

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

const headOf = ({ scheme, anchors }: (typeof COLUMNS)[number]) => (anchors ? `${scheme}, ${anchors} anchors` : scheme);
const cellOf = ({ wrong_percent, work }: Summary) =>
  `${shown(wrong_percent && flat(wrong_percent.mean), 3)} / ${work?.mean.toFixed(2)}`;
const flat = (mean: number) => ({ mean, least: mean, most: mean });

const schemes = markdown([
  ['population', ...COLUMNS.map(headOf)],
  ...played.map(({ name, summaries }) => [name, ...summaries.map(cellOf)]),
]);

/** What Muster did in detail: the columns from a given one on. */
const detail = (column: number) =>
  markdown(
    tableOf(
      played.map(({ name, summaries }) => ({ name, summary: summaries[column]! })),
      'population',
    ),
  );

function routing(): string {
  const mean = (values: readonly number[], digits: number) =>
    (values.reduce((sum, value) => sum + value, 0) / values.length).toFixed(digits);
  const cell = (routed: readonly Routed[]) =>
    `${mean(
      routed.map((it) => it.first_try_percent),
      2,
    )} / ${mean(
      routed.map((it) => it.newcomer_share),
      2,
    )} / ${mean(
      routed.map((it) => it.degraded_share),
      2,
    )}`;
  return markdown([
    ['strategy', ...LOADS.map((load) => `load ${load}`)],
    ...strategies.map((strategy) => [
      strategy,
      ...LOADS.map((load) => cell(SEEDS.map((seed) => simulateRouting(strategy, load, ROUTED_TASKS, seed)))),
    ]),
  ]);
}

const TABLES: Record<string, string> = {
  schemes,
  muster: detail(COLUMNS.length - 2),
  anchors: detail(COLUMNS.length - 1),
  routing: routing(),
};
const found = await readFile(file, 'utf8');
await writeFile(
  file,
  found.replace(
    /(<!-- table: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, start: string, name: string, end: string) => `${start}${TABLES[name]}\n${end}`,
  ),
);
