import { defineConfig } from 'vitest/config';

// Both are needed: the first for what vite resolves, the second for what the tests import.
const conditions = ['development', 'module', 'node', 'import', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['{shared,server,agent,testing,e2e,scripts,docs}/**/*.test.ts'],
    globalSetup: ['testing/vitest-global-setup.ts'],
    setupFiles: ['testing/vitest-worker-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
