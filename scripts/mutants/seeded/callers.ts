import type { Mutant } from '../mutant.ts';

/** What goes wrong between a coordinator and who calls it. */
export const CALLERS: readonly Mutant[] = [
  {
    name: 'stale epoch cache',
    why: 'whether a token is over is looked at when it is verified, and not again while that is remembered',
    edits: [
      {
        file: 'server/agents/access-token.ts',
        find: '    refuseOver(it, revocations);\n    if (it.jkt',
        replace: '    if (it.jkt',
      },
      {
        file: 'server/agents/access-token.ts',
        find: '.then((it) => it && admit(it, credential));',
        replace: `.then((it) => {
      if (it) refuseOver(it, revocations);
      return it && admit(it, credential);
    });`,
      },
    ],
    caughtBy: [
      {
        file: 'e2e/revocation.test.ts',
        test: 'an agent revoked at one coordinator is a stranger to the other within two seconds',
      },
    ],
  },
  {
    name: 'replay accepted',
    why: 'a proof of possession that was seen before is taken again',
    edits: [
      {
        file: 'server/agents/store/used-jtis.ts',
        find: 'fresh.delete(key(it)))',
        replace: 'fresh.delete(key(it)) || true)',
      },
    ],
    caughtBy: [
      {
        file: 'e2e/proof-of-possession.test.ts',
        test: 'a proof is good once: at every coordinator, also after a restart, also when it comes twice at once',
      },
    ],
  },
  {
    name: 'drain that drops',
    why: 'a coordinator that stops cuts off what it has begun to answer',
    edits: [
      {
        file: 'server/platform/http-drain.ts',
        find: '  await Promise.race([flights.landed(), late]);',
        replace: '  server.closeAllConnections();',
      },
    ],
    caughtBy: [
      { file: 'e2e/operations.test.ts', test: 'a coordinator that drains says so and still answers what it had begun' },
      { file: 'e2e/invariants/rolling-restart.test.ts', test: 'no caller is turned away, and no lease is lost' },
    ],
  },
];
