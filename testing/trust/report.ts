import type { Outcome } from './simulate.ts';

/** What several seeds came to: the mean of each figure, and its least and greatest value. Null where no seed has the figure. */
export type Summary = Record<keyof Outcome, { mean: number; least: number; most: number } | null>;

export function summarise(outcomes: readonly Outcome[]): Summary {
  const names = Object.keys(outcomes[0]!) as (keyof Outcome)[];
  return Object.fromEntries(
    names.map((name) => {
      const values = outcomes.map((outcome) => outcome[name]).filter((value) => value !== null);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return [name, values.length ? { mean, least: Math.min(...values), most: Math.max(...values) } : null];
    }),
  ) as Summary;
}

/** Columns of the tables: what they are called, which figure, with how many decimals. */
const COLUMNS: [string, keyof Outcome, number][] = [
  ['wrong %', 'wrong_percent', 3],
  ['exposed %', 'exposed_percent', 3],
  ['disputed %', 'disputed_percent', 3],
  ['work', 'work', 3],
  ['steady', 'steady_work', 3],
  ['caught', 'caught', 0],
  ['of', 'bad', 0],
  ['runs to catch', 'runs_to_catch', 1],
  ['falsely out %', 'falsely_quarantined_percent', 2],
  ['runs to trust', 'runs_to_trust', 0],
];

/** A table: a head, and a row for each summary. With several seeds a figure is `mean [least..most]`. */
export function tableOf(rows: readonly { name: string; summary: Summary }[], nameHead: string): string[][] {
  return [
    [nameHead, ...COLUMNS.map(([head]) => head)],
    ...rows.map(({ name, summary }) => [name, ...COLUMNS.map(([, figure, digits]) => shown(summary[figure], digits))]),
  ];
}

function shown(figure: Summary[keyof Outcome], digits: number): string {
  if (!figure) return '-';
  const [mean, least, most] = [figure.mean, figure.least, figure.most].map((value) => value.toFixed(digits));
  return least === most ? `${mean}` : `${mean} [${least}..${most}]`;
}

export function markdown(table: readonly (readonly string[])[]): string {
  const [head, ...rows] = padded(table);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head!), line(head!.map((cell) => '-'.repeat(cell.length))), ...rows.map(line)].join('\n');
}

export const plain = (table: readonly (readonly string[])[]): string =>
  padded(table)
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');

const padded = (table: readonly (readonly string[])[]): string[][] => {
  const widths = table[0]!.map((_, n) => Math.max(3, ...table.map((row) => row[n]!.length)));
  return table.map((row) => row.map((cell, n) => cell.padEnd(widths[n]!)));
};
