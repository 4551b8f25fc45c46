import type { Endpoint } from '@muster/shared/contract/endpoint';
import type { Scope } from '@muster/shared/contract/scopes';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { authenticate, authorise, type Credential, credentialIn, type KeyPrincipal } from './auth.ts';

const endpoint: Endpoint = {
  method: 'GET',
  path: '/things/{agent_id}',
  tag: 'Things',
  summary: 'A thing',
  principals: ['key', 'agent'],
  scope: 'tasks:read',
  response: z.any(),
};
const key = (...scopes: Scope[]): KeyPrincipal => ({
  kind: 'key',
  api_key_id: 'key_1',
  owner: 'acme',
  scopes,
  allowed_addresses: null,
  requests_per_minute: null,
  expires_at: null,
});
const codeOf = (act: () => unknown) => {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test('one credential is read, whatever the case of its scheme; none or two are refused', () => {
  expect(credentialIn('Bearer abc', undefined)).toEqual({ scheme: 'Bearer', token: 'abc' });
  expect(credentialIn('bearer  abc ', undefined)).toEqual({ scheme: 'Bearer', token: 'abc' });
  expect(credentialIn('dPoP abc', undefined)).toEqual({ scheme: 'DPoP', token: 'abc' });
  expect(credentialIn(undefined, 'abc')).toEqual({ scheme: 'Bearer', token: 'abc' });
  for (const header of [undefined, '', 'Bearer', 'Bearer ', 'Basic abc', 'Bearer a b', 'abc'])
    expect(
      codeOf(() => credentialIn(header, undefined)),
      header,
    ).toBe('unauthenticated');
  expect(codeOf(() => credentialIn('Bearer a, Bearer b', undefined))).toBe('malformed-request');
  expect(codeOf(() => credentialIn(undefined, 'a, b'))).toBe('malformed-request');
  expect(codeOf(() => credentialIn('Bearer a', 'a'))).toBe('malformed-request');
});

test('nobody is let in whom no authenticator vouches for', async () => {
  const credential: Credential = {
    scheme: 'Bearer',
    token: 'abc',
    proof: undefined,
    method: 'GET',
    path: '/',
    address: undefined,
  };
  expect(codeOf(() => authenticate([], credential))).toBe('invalid-api-key');
  const stranger = { ...credential, token: 'a.b.c' };
  expect(codeOf(() => authenticate([() => undefined], stranger))).toBe('invalid-token');
  const late = () => Promise.resolve(undefined);
  await expect(authenticate([late, () => undefined], stranger)).rejects.toMatchObject({ code: 'invalid-token' });
  const known = key('tasks:read');
  expect(authenticate([() => undefined, () => known], credential)).toBe(known);
  expect(await authenticate([() => undefined, () => Promise.resolve(known)], credential)).toBe(known);
  expect(await authenticate([late, () => known], credential)).toBe(known);
});

test('a key needs the scope, or is an admin’s; where none is said only the latter will do', () => {
  const code = (it: Endpoint, ...scopes: Scope[]) => codeOf(() => authorise(it, key(...scopes), {}));
  expect(code(endpoint, 'tasks:read')).toBeUndefined();
  expect(code(endpoint, 'admin')).toBeUndefined();
  expect(code(endpoint, 'tasks:write', 'agents:admin')).toBe('insufficient-scope');
  const { scope: _, ...unsaid } = endpoint;
  expect(code(unsaid, 'tasks:read')).toBe('insufficient-scope');
  expect(code(unsaid, 'admin')).toBeUndefined();
  expect(code({ ...endpoint, principals: ['agent'] }, 'admin')).toBe('insufficient-scope');
  expect(code({ ...endpoint, principals: [] }, 'admin')).toBe('insufficient-scope');
});

test('an agent speaks for itself alone', () => {
  const agent = { kind: 'agent', agent_id: 'agent_1', boot_id: 'boot_1' } as const;
  expect(codeOf(() => authorise(endpoint, agent, { agent_id: 'agent_1' }))).toBeUndefined();
  expect(codeOf(() => authorise(endpoint, agent, { agent_id: 'agent_2' }))).toBe('insufficient-scope');
  expect(codeOf(() => authorise({ ...endpoint, principals: ['key'] }, agent, { agent_id: 'agent_1' }))).toBe(
    'insufficient-scope',
  );
});
