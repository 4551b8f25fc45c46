import { readFile } from 'node:fs/promises';
import { type Population, populationSchema, problemsOf } from '@muster/testing/trust/population';

/** Says what is wrong and ends. */
export function refuse(...lines: string[]): never {
  for (const line of lines) console.error(line);
  process.exit(1);
}

/** An option that is a whole number from 1. */
export function natural(name: string, text: string, usage: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) refuse(`--${name} ${text} is not a whole number from 1`, usage);
  return Number(text);
}

/** Reads a population; a file that is not one ends the script with what is wrong in it. */
export async function readPopulation(file: string): Promise<Population> {
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
