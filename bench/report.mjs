// Results as lines: what was measured, and how it stands to what was wanted.
import { median, short, spread } from './figures.mjs';

/** A line for each subject. @param {Map<string, {lacks?: string, rounds: object[]}>} results */
export function report(results) {
  return [...results].map(([name, { lacks, rounds }]) => {
    if (lacks) return `${name.padEnd(16)} not measured: ${lacks}`;
    const figures = Object.keys(rounds[0]).map((figure) => `${figure} ${spread(rounds.map((round) => round[figure]))}`);
    return `${name.padEnd(16)} ${figures.join('   ')}`;
  });
}

/** Ratios to every other subject, round by round, in the first figure or those that are `compared`, and each goal: kept, or missed. */
export function judge({ goals, compared }, results) {
  const [[, ours], ...others] = results;
  if (ours.lacks) return [];
  const figures = compared ?? Object.keys(ours.rounds[0]).slice(0, 1);
  const lines = others
    .filter(([, { lacks }]) => !lacks)
    .flatMap(([name, theirs]) =>
      figures.map((figure) => `muster / ${name}: ${spread(ratios(ours, theirs, figure))} in ${figure}`),
    );
  for (const { figure, against, less, floor, aim, atMost } of goals) {
    if (atMost) lines.push(verdict(figure, median(ours.rounds.map((round) => round[figure])), true, atMost));
    else if (results.has(against))
      lines.push(
        verdict(`${figure} / ${against}`, median(ratios(ours, results.get(against), figure)), less, { floor, aim }),
      );
  }
  return lines;
}

const ratios = (ours, theirs, figure) => ours.rounds.map((round, n) => round[figure] / theirs.rounds[n][figure]);

function verdict(what, value, less, { floor, aim }) {
  const holds = (limit) => (less ? value <= limit : value >= limit);
  const sign = less ? '<=' : '>=';
  const aimed = aim === undefined ? '' : `, aim ${sign} ${aim} ${holds(aim) ? 'reached' : 'missed'}`;
  return `${what} ${short(value)}: floor ${sign} ${floor} ${holds(floor) ? 'kept' : 'MISSED'}${aimed}`;
}
