import fc from 'fast-check';

// A worker whose run was killed would go on with its test file: nobody is left to hear how it ends. Said once: this runs before each file.
const worker = globalThis as { ending?: unknown };
worker.ending ??= process.once('disconnect', () => process.exit(1));

// Where it is said, chance decides alike in every run: what fails then is the change.
if (process.env.FC_SEED) fc.configureGlobal({ seed: Number(process.env.FC_SEED) });
