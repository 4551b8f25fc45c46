// `npm run proof -- mutants [--only WORDS …] [--workers N]`: seeds fourteen bugs into a copy of the tree; each must be caught by the tests it names.
import { parseArgs } from 'node:util';
import { proveMutants } from './run.ts';

const { only, workers } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [''] },
    workers: { type: 'string', default: '1' },
  },
}).values;
process.exitCode = (await proveMutants({ only, workers: Number(workers) })) ? 0 : 1;
