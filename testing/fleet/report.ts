import type { Finding } from '../checkers.ts';
import { type Percentiles, type Tally, TIMED, type Timed } from './tally.ts';

/** What a fleet did and was told. Times are in milliseconds. */
export interface FleetReport {
  agents: number;
  seed: number;
  seconds: number;
  submitted: number;
  /** Tasks completed a second, from the first submit to the last completion. */
  completed_per_second: number;
  /** Acknowledged, and not there or not ended at the end. */
  lost: number;
  /** Applied more than once. */
  doubled: number;
  counts: Tally['counts'];
  times: Record<Timed, Percentiles>;
  promises: Finding[];
}

const MEANS: Record<Timed, string> = {
  start: 'submit to first claim',
  end: 'submit to completion',
  submit: 'a submit is answered',
  beat: 'a beat is answered',
  result: 'a result is answered',
};

/** The report as Markdown. */
export function reportText(report: FleetReport): string {
  const { agents, seed, seconds, submitted, completed_per_second, lost, doubled, counts, times, promises } = report;
  const ms = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  const rows = TIMED.map((name) => {
    const { count, ...at } = times[name];
    return `| ${MEANS[name]} | ${count} | ${Object.values(at).map(ms).join(' | ')} |`;
  });
  const told = Object.entries(counts).map(([name, n]) => `${name} ${n}`);
  return [
    `${agents} agents, seed ${seed}, ${seconds.toFixed(1)} s: ${submitted} tasks submitted, ${completed_per_second.toFixed(0)} completed a second, ${lost} lost, ${doubled} doubled`,
    '',
    '| milliseconds | n | p50 | p90 | p99 | p99.9 | max |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    told.join(', '),
    '',
    ...promises.map(({ promise, checked, broken }) => `- ${promise}: ${checked} checked, ${broken.length} broken`),
    ...promises.flatMap(({ broken }) => broken.slice(0, 10).map((what) => `  - ${what}`)),
  ].join('\n');
}
