import { CALLERS } from './seeded/callers.ts';
import { ROWS } from './seeded/rows.ts';
import { RUNS } from './seeded/runs.ts';

/** The fourteen bugs that must be caught, as edits of the code as it is. */
export const MUTANTS = [...RUNS, ...ROWS, ...CALLERS];
