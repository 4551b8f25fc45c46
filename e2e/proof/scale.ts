import { appendFileSync } from 'node:fs';
import { seedOf } from '@muster/testing/random';

/** How many times a fiftieth of the size that is promised: `PROOF_SCALE=50`, which `npm run proof` sets, is the whole. */
export const SCALE = Number(process.env.PROOF_SCALE ?? 1);
/** Whether it is a suite of its own, as long as it takes, and not the fiftieth among other tests. */
export const WHOLE = SCALE > 1;
/** Whole, it takes long, on a machine that does other things longer. */
export const TIMEOUT_MS = WHOLE ? 3_600_000 : 120_000;
/** How many times as long as promised things may take: once in a suite of its own, unless said; a fiftieth runs on whatever machine tests run on. */
export const SLACK = Number(process.env.PROOF_SLACK ?? (WHOLE ? 1 : 5));
/** What chance decides: the same seed, the same load and the same faults in the same order. */
export const SEED = seedOf('PROOF_SEED');

/** A fiftieth of so many, times the scale; at least one. */
export const part = (whole: number): number => Math.max(1, Math.round((whole * SCALE) / 50));

/** So many times in milliseconds, how long half of them, nearly all of them, and the longest took. */
export interface Times {
  count: number;
  p50: number;
  p99: number;
  max: number;
}

export function timesOf(times: readonly number[]): Times {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

export type Figures = Record<string, number | string | Times>;

/** Prints what was found, and adds it as a line of JSON to the file that `npm run proof` names. */
export function tell(proof: string, figures: Figures): void {
  const words = Object.entries(figures).map(([name, value]) => `  ${name}: ${wordsOf(value)}`);
  console.log([`${proof} (seed ${SEED})`, ...words].join('\n'));
  const file = process.env.PROOF_REPORT;
  if (file) appendFileSync(file, `${JSON.stringify({ proof, seed: SEED, scale: SCALE, ...figures })}\n`);
}

const wordsOf = (value: number | string | Times): string =>
  typeof value === 'object'
    ? `p50 ${value.p50} ms, p99 ${value.p99} ms, max ${value.max} ms of ${value.count}`
    : value.toLocaleString('en');
