import { configDefaults, defineConfig } from 'vitest/config';

// Both are needed: the first for what vite resolves, the second for what the tests import.
const conditions = ['development', 'module', 'node', 'import', 'default'];

/** Where processes are killed and have to come back takes all of a machine: no test runs beside them. */
const CHAOS = ['e2e/{proof,invariants}/*.test.ts'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['{shared,server,agent,testing,e2e,scripts,docs}/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...CHAOS],
        },
      },
      { extends: true, test: { name: 'chaos', include: CHAOS, maxWorkers: 1, sequence: { groupOrder: 1 } } },
    ],
    globalSetup: ['testing/vitest-global-setup.ts'],
    setupFiles: ['testing/vitest-worker-setup.ts'],
    pool: 'forks',
    // Nothing is left in a module by one file that another would find: what all import is loaded once for all. A hook at the
    // top of such a module would be the first file's alone: `onTestFinished`.
    isolate: false,
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Longer than a machine with other things to do takes.
    expect: { poll: { timeout: 15_000 } },
  },
});
