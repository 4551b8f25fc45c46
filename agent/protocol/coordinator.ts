import type { JsonWebKey } from 'node:crypto';
import { type Client, type ClientOptions, createClient } from '@muster/shared/client';
import { putCapabilities, registerAgent, updateAgent } from '@muster/shared/contract/agents';
import { leave, poll, progressRun, startRun } from '@muster/shared/contract/dispatch';
import type { CallOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import type { Credential } from '../beat/messages.ts';
import { proofJwt } from '../identity/jwt.js';
import { authorisation, sendAuthorised } from './authorised.js';
import { ProofRequired } from './refusal.js';
import type { Transport } from './transport.js';

/** Who calls. The token is somebody else's to keep: see beat/. */
export interface Caller {
  readonly agentId: string;
  token(): Promise<Credential>;
  /** A token other than the one that was refused. */
  renew(refused: string): Promise<Credential>;
}

type Body<E extends Parameters<Client>[0]> = NonNullable<CallOf<E>['body']>;

/** Registers; the one call made without a token. `provenBy`: the key to bind the token to. */
export async function register(
  url: string,
  transport: Transport,
  registration: string,
  provenBy?: JsonWebKey,
): Promise<ResponseOf<typeof registerAgent>> {
  const prove: Sign = (method, at) => ({ dpop: proofJwt(provenBy!, { method, url: at }, transport.nowMs()) });
  const client = createClient({ url, fetch: fetchOf(transport, provenBy ? prove : () => ({})) });
  try {
    return await client(registerAgent, { body: { registration } });
  } catch (error) {
    const unproven = error instanceof ProblemError && error.code === 'invalid-proof' && !provenBy;
    throw unproven ? new ProofRequired(error.message) : error;
  }
}

/** The coordinator as an agent sees it: one method an endpoint, no retries but those with a new token or proof. */
export class Coordinator {
  readonly #url: string;
  readonly #transport: Transport;
  readonly #caller: Caller;

  constructor(url: string, transport: Transport, caller: Caller) {
    this.#url = url;
    this.#transport = transport;
    this.#caller = caller;
  }

  poll = (body: Body<typeof poll>, signal?: AbortSignal) => this.#call(poll, { params: this.#params, body }, signal);

  leave = (body: Body<typeof leave>, signal?: AbortSignal) => this.#call(leave, { params: this.#params, body }, signal);

  startRun = (run_id: string, fence: number, signal?: AbortSignal) =>
    this.#call(startRun, { params: { run_id }, body: { fence } }, signal);

  progressRun = (run_id: string, body: Body<typeof progressRun>, signal?: AbortSignal) =>
    this.#call(progressRun, { params: { run_id }, body }, signal);

  putCapabilities = (capabilities: string[]) =>
    this.#call(putCapabilities, { params: this.#params, body: { capabilities } });

  updateAgent = (body: Body<typeof updateAgent>) => this.#call(updateAgent, { params: this.#params, body });

  get #params() {
    return { agent_id: this.#caller.agentId };
  }

  async #call<E extends Parameters<Client>[0]>(
    endpoint: E,
    call: CallOf<E>,
    signal?: AbortSignal,
  ): Promise<ResponseOf<E>> {
    const send = (credential: Credential) => {
      const sign: Sign = (method, at) => authorisation(credential, method, at, this.#transport.nowMs());
      const client = createClient({ url: this.#url, fetch: fetchOf(this.#transport, sign) });
      return client(endpoint, call, signal ? { signal } : {});
    };
    return sendAuthorised(this.#caller, send, signal);
  }
}

/** The headers by which a request says whose it is. */
type Sign = (method: string, url: string) => Record<string, string>;

/**
 * shared/client reads `ok`, `status` and `json()` of an answer, which is what the transport gives. A refusal that is not
 * in the coordinator's own words comes from something in between: that may pass, and must not condemn what was sent.
 */
const fetchOf = (transport: Transport, sign: Sign) =>
  (async (url: string, { method, headers, ...init }: { method: string; headers: Record<string, string> }) => {
    const answer = await transport.send(url, { ...init, method, headers: { ...headers, ...sign(method, url) } });
    const problem = answer.ok || (await answer.json().catch(() => undefined));
    if (!answer.ok && !problem?.code) throw new Error(`the answer was ${answer.status}, not the coordinator's own`);
    return answer;
  }) as unknown as NonNullable<ClientOptions['fetch']>;
