import { timingSafeEqual } from 'node:crypto';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';

/** Who is calling. */
export type Principal =
  | { kind: 'public' }
  | { kind: 'admin'; owner: string }
  | { kind: 'agent'; agent_id: string; boot_id: string };

/** Knows one kind of credential: the principal, undefined where it is not of this kind, or a problem where it is but is not good. */
export type Authenticator = (credential: string) => Promise<Principal | undefined> | Principal | undefined;

/** Whether two secrets are the same, in a time that does not tell how much of them is. */
export function sameSecret(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}

/** The principal behind a request's headers; denied unless some authenticator vouches for it. */
export async function authenticate(
  authenticators: readonly Authenticator[],
  authorization: string | undefined,
  apiKey: string | undefined,
): Promise<Principal> {
  const credential = apiKey ?? /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  if (credential === undefined) {
    throw new ProblemError(
      'unauthenticated',
      'send an Authorization header: Bearer and an admin key or an access token',
    );
  }
  for (const known of authenticators) {
    const principal = await known(credential);
    if (principal) return principal;
  }
  throw credential.split('.').length === 3
    ? new ProblemError('invalid-token', 'the access token is not one of this network')
    : new ProblemError('invalid-api-key', 'the API key is not known');
}

/** Refuses a principal the endpoint is not for, and an agent that speaks for another. */
export function authorise(endpoint: Endpoint, principal: Principal, params: Record<string, unknown>): void {
  if (!endpoint.principals.includes(principal.kind)) {
    throw new ProblemError('insufficient-scope', `${endpoint.method} ${endpoint.path} is not for an ${principal.kind}`);
  }
  if (principal.kind === 'agent' && params.agent_id !== undefined && params.agent_id !== principal.agent_id) {
    throw new ProblemError('insufficient-scope', `agent ${principal.agent_id} may not speak for ${params.agent_id}`);
  }
}
