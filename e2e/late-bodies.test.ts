import { request } from 'node:http';
import { revokeApiKey, updateApiKey } from '@muster/shared/contract/access';
import { getAgent } from '@muster/shared/contract/agents';
import { expect, test } from 'vitest';
import { makeKey } from './fixtures/keys.ts';
import { startNetwork } from './fixtures/network.ts';

/** Sends a request whose body comes to its end only after something else has happened; the problem code, or the status. */
async function sendLate(
  { url, method = 'POST', headers, body }: { url: string; method?: string; headers: object; body: object },
  meanwhile: () => Promise<unknown>,
): Promise<unknown> {
  const text = JSON.stringify(body);
  const sent = request(url, { method, headers: { ...headers, 'content-type': 'application/json' } });
  sent.write(text.slice(0, 5));
  const answered = new Promise<unknown>((resolve, reject) => {
    sent.on('error', reject).on('response', async (response) => {
      const { code } = JSON.parse(Buffer.concat(await response.toArray()).toString()) as { code?: string };
      resolve(code ?? response.statusCode);
    });
  });
  // Until it is known who sends it, and the body is waited for; longer than may pass before that is asked anew.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await meanwhile();
  sent.end(text.slice(5));
  return answered;
}

test('a key that was revoked or narrowed while its body came in does nothing more', async () => {
  const network = await startNetwork();
  const late = async (change: (params: { api_key_id: string }) => Promise<unknown>) => {
    const { api_key, api_key_id } = await makeKey(network, { scopes: ['admin'] });
    const headers = { authorization: `Bearer ${api_key}` };
    const body = { name: 'back door', scopes: ['admin'] };
    return sendLate({ url: `${network.url}/ains/api-keys`, headers, body }, () => change({ api_key_id }));
  };
  const { admin } = network;
  expect(await late((params) => admin(revokeApiKey, { params }))).toBe('invalid-api-key');
  expect(await late((params) => admin(updateApiKey, { params, body: { scopes: ['tasks:read'] } }))).toBe(
    'insufficient-scope',
  );
  expect(await late(async () => {})).toBe(201);
  const [row] = await network.sql`select count(*)::int as made from api_keys where name = 'back door'`;
  expect(row).toEqual({ made: 1 });
});

test('a token that ended while the body came in does nothing more; a proof that was good is not asked for again', async () => {
  const network = await startNetwork();
  for (const dpop of [false, true]) {
    const agent = await network.rawAgent({}, network.url, { dpop });
    const params = { agent_id: agent.agentId };
    const url = `${network.url}/ains/agents/${agent.agentId}`;
    const rename = async (display_name: string, meanwhile: () => Promise<unknown>) => {
      const { token } = agent;
      const proof = dpop ? { dpop: await agent.proofOf({ method: 'PATCH', url, token }) } : {};
      const headers = { authorization: `${dpop ? 'DPoP' : 'Bearer'} ${token}`, ...proof };
      return sendLate({ url, method: 'PATCH', headers, body: { display_name } }, meanwhile);
    };
    expect(await rename('slow', async () => {})).toBe(200);
    expect(await rename('stolen', () => agent.rotate())).toBe('invalid-token');
    expect(await network.admin(getAgent, { params })).toMatchObject({ display_name: 'slow' });
  }
});
