import * as contract from '@muster/shared/contract/ops';
import { ProblemError } from '@muster/shared/errors';
import type { SigningKeys } from '../access/signing-keys.ts';
import { withDeadline } from '../platform/deadline.ts';
import { JsonText, type Route, route } from '../platform/endpoint.ts';
import { ping } from './store.ts';

/** How long readiness waits for the database, in milliseconds. */
const PING_MS = 2_000;

export const opsRoutes = (
  keys: SigningKeys,
  { draining, openApi }: { draining: () => boolean; openApi: () => object },
): Route[] => {
  let document: string | undefined;
  return [
    route(contract.livez, () => ({ status: 'ok' })),
    route(contract.readyz, async ({ db }) => {
      if (draining()) throw new ProblemError('overloaded', 'the coordinator is draining');
      // By the pool agents are served from: however long lists keep the other busy, agents are to come here.
      await withDeadline(ping(db.hot), PING_MS);
      return { status: 'ok' };
    }),
    route(contract.jwks, () => keys.jwks()),
    route(contract.openapi, () => {
      document ??= JSON.stringify(openApi());
      return new JsonText(document);
    }),
  ];
};
