import { newKey } from '@muster/testing/jwt';
import { RawAgent, type Registration, sha256 } from '../fixtures/raw-agent.ts';
import { type Answer, type Attack, post, type Stage } from './stage.ts';

type Key = ReturnType<typeof newKey>;

/** The coordinator's own key, which no attacker has: with it a token is wrong in the one thing its row says. */
export const SIGNING_KEY = newKey();
/** Of an agent that is not there yet, and of the one that is, after a rotation. */
export const [STRANGER, NEXT] = [newKey(), newKey()];

/** Where tokens are taken: how a good one is had, by which key it is verified, how it is sent. */
export interface Door {
  name: string;
  typ: string;
  good(stage: Stage): Promise<string>;
  key(stage: Stage): Key;
  send(stage: Stage, jwt: string): Promise<Answer>;
}

export const beatBody = ({ bootId }: RawAgent) => ({ boot_id: bootId, status: 'ACTIVE', slots_free: 1, runs: [] });
export const beat = ({ url, agent }: Stage, headers: Record<string, string>) =>
  post(`${url}/ains/agents/${agent.agentId}/heartbeat`, beatBody(agent), headers);

let strangers = 0;
/** An address that nobody has called from yet. */
export const elsewhere = () => ({ 'x-forwarded-for': `2001:db8:0:${(strangers++).toString(16)}::1` });
export const register = ({ url }: Stage, registration: unknown) =>
  post(`${url}/ains/agents`, { registration }, elsewhere());
export const assert = ({ url, agent }: Stage, assertion: unknown) =>
  post(`${url}/ains/agents/${agent.agentId}/token`, { assertion });

export const optionsAt = ({ url, coordinator }: Stage) => ({ url, now: () => coordinator.clock.now() });

/** What is otherwise in a registration that would be taken. */
export interface Wish extends Partial<Registration> {
  key?: Key;
  header?: object;
  claims?: object;
}

export const registrationOf = (
  stage: Stage,
  {
    key = newKey(),
    header = {},
    claims = {},
    enrollment_token = stage.enrollment_token,
    capabilities = ['work'],
    ...rest
  }: Wish = {},
) =>
  new RawAgent(optionsAt(stage), key).registrationOf({ enrollment_token, capabilities, ...rest }, { header, claims });

/** A registration as it may not be. */
export const row = (
  what: string,
  wish: (stage: Stage) => Wish,
  expected: Omit<Attack, 'id' | 'what' | 'send'>,
): Omit<Attack, 'id'> => ({
  what,
  send: async (stage) => register(stage, await registrationOf(stage, wish(stage))),
  ...expected,
});

export const ACCESS: Door = {
  name: 'an access token',
  typ: 'at+jwt',
  good: async ({ agent }) => agent.token,
  key: () => SIGNING_KEY,
  send: (stage, jwt) => beat(stage, { authorization: `Bearer ${jwt}` }),
};
export const ASSERTION: Door = {
  name: 'an assertion',
  typ: 'agent-assertion+jwt',
  good: ({ agent }) => agent.assertionOf(),
  key: ({ agent }) => agent.key,
  send: assert,
};
export const REGISTRATION: Door = {
  name: 'a registration',
  typ: 'agent-registration+jwt',
  good: (stage) => registrationOf(stage, { key: STRANGER }),
  key: () => STRANGER,
  send: register,
};
export const ROTATION: Door = {
  name: 'a key rotation',
  typ: 'agent-key-rotation+jwt',
  good: async ({ agent }) => (await agent.rotationOf(NEXT)).rotation,
  key: ({ agent }) => agent.key,
  async send({ url, agent }, rotation) {
    // Confirmed as it is, so that it is the rotation that is wrong.
    const claims = { iss: agent.agentId, sub: agent.agentId, rotation_hash: sha256(rotation) };
    const confirmation = await agent.sign({ typ: 'agent-key-confirmation+jwt' }, claims, NEXT);
    return post(`${url}/ains/agents/${agent.agentId}/rotate-key`, { rotation, confirmation });
  },
};

export const DOORS = [ACCESS, ASSERTION, REGISTRATION, ROTATION];
/** What an agent signs itself. */
export const PROOFS = [ASSERTION, REGISTRATION, ROTATION];
