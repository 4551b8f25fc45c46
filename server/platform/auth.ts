import { timingSafeEqual } from 'node:crypto';
import type { Endpoint } from '@muster/shared/contract/endpoint';
import type { Scope } from '@muster/shared/contract/scopes';
import { ProblemError } from '@muster/shared/errors';

/** Who is calling. */
export type Principal = { kind: 'public' } | KeyPrincipal | { kind: 'agent'; agent_id: string; boot_id: string };

/** The holder of an API key. */
export interface KeyPrincipal {
  kind: 'key';
  /** The key's id; `admin` for the one of the settings. */
  api_key_id: string;
  owner: string;
  scopes: readonly Scope[];
  /** CIDR ranges it may be used from; null: from anywhere. */
  allowed_addresses: readonly string[] | null;
  /** Null: as many as it likes. */
  requests_per_minute: number | null;
  expires_at: Date | null;
}

/** What a caller shows of itself, and what a proof of it is about. */
export interface Credential {
  scheme: 'Bearer' | 'DPoP';
  token: string;
  /** The DPoP header. */
  proof: string | undefined;
  method: string;
  path: string;
  address: string | undefined;
  /** It was good when the request began, proof and all: is it still? */
  again?: boolean;
}

/** Knows one kind of credential: the principal, undefined where it is not of this kind, or a problem where it is but is not good. */
export type Authenticator = (credential: Credential) => Promise<Principal | undefined> | Principal | undefined;

/** Whether two secrets are the same, in a time that does not tell how much of them is. */
export function sameSecret(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}

/** The token in a request's headers and its scheme. One is enough: of two, nobody could say which was meant. */
export function credentialIn(
  authorization: string | undefined,
  apiKey: string | undefined,
): Pick<Credential, 'scheme' | 'token'> {
  if (authorization?.includes(',') || apiKey?.includes(','))
    throw new ProblemError('malformed-request', 'there is more than one Authorization or X-API-Key header');
  if (authorization !== undefined && apiKey !== undefined)
    throw new ProblemError('malformed-request', 'send an Authorization or an X-API-Key header, not both');
  if (apiKey) return { scheme: 'Bearer', token: apiKey };
  const [, scheme, token] = /^(Bearer|DPoP) +(\S+) *$/i.exec(authorization ?? '') ?? [];
  if (token === undefined)
    throw new ProblemError('unauthenticated', 'send an Authorization header: Bearer and an API key or an access token');
  return { scheme: scheme!.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer', token };
}

/** The principal behind a credential; denied unless some authenticator vouches for it. No promise where none had to look it up. */
export function authenticate(
  authenticators: readonly Authenticator[],
  credential: Credential,
): Promise<Principal> | Principal {
  for (let n = 0; n < authenticators.length; n += 1) {
    const answer = authenticators[n]!(credential);
    if (answer instanceof Promise)
      return answer.then((principal) => principal ?? authenticate(authenticators.slice(n + 1), credential));
    if (answer) return answer;
  }
  throw credential.token.split('.').length === 3
    ? new ProblemError('invalid-token', 'the access token is not one of this network')
    : new ProblemError('invalid-api-key', 'the API key is not known');
}

/** Whether a key may do everything, with everybody's things. */
export const isAdmin = (principal: Principal): boolean =>
  principal.kind === 'key' && principal.scopes.includes('admin');

/** Refuses a principal the endpoint is not for, a key without its scope, and an agent that speaks for another. */
export function authorise(endpoint: Endpoint, principal: Principal, params: Record<string, unknown>): void {
  if (!endpoint.principals.includes(principal.kind)) {
    throw new ProblemError(
      'insufficient-scope',
      `${endpoint.method} ${endpoint.path} is not for ${principal.kind === 'agent' ? 'agents' : 'API keys'}`,
    );
  }
  if (principal.kind === 'key' && !isAdmin(principal)) {
    const scope = endpoint.scope ?? 'admin';
    if (!principal.scopes.includes(scope))
      throw new ProblemError('insufficient-scope', `${endpoint.method} ${endpoint.path} needs the scope ${scope}`);
  }
  if (principal.kind === 'agent' && params.agent_id !== undefined && params.agent_id !== principal.agent_id) {
    throw new ProblemError('insufficient-scope', `agent ${principal.agent_id} may not speak for ${params.agent_id}`);
  }
}
