import { type Client, type ClientOptions, createClient } from '@muster/shared/client';
import { putCapabilities, registerAgent, updateAgent } from '@muster/shared/contract/agents';
import { leave, poll, progressRun, startRun } from '@muster/shared/contract/dispatch';
import type { CallOf, ResponseOf } from '@muster/shared/contract/endpoint';
import { ProblemError } from '@muster/shared/errors';
import type { Transport } from './transport.js';

/** Who calls. The token is somebody else's to keep: see beat/. */
export interface Caller {
  readonly agentId: string;
  token(): Promise<string>;
  /** A token other than the one that was refused. */
  renew(refused: string): Promise<string>;
}

type Body<E extends Parameters<Client>[0]> = NonNullable<CallOf<E>['body']>;

/** Registers; the one call made without a token. */
export function register(
  url: string,
  transport: Transport,
  registration: string,
): Promise<ResponseOf<typeof registerAgent>> {
  return createClient({ url, fetch: fetchOf(transport) })(registerAgent, { body: { registration } });
}

/** The coordinator as an agent sees it: one method an endpoint, no retries but the one with a new token after a 401. */
export class Coordinator {
  readonly #caller: Caller;
  readonly #client: Client;

  constructor(url: string, transport: Transport, caller: Caller) {
    this.#caller = caller;
    this.#client = createClient({ url, fetch: fetchOf(transport) });
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
    const send = (token: string) =>
      this.#client(endpoint, call, { headers: { authorization: `Bearer ${token}` }, ...(signal ? { signal } : {}) });
    const token = await this.#caller.token();
    try {
      return await send(token);
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 401 || error.code === 'token-revoked') throw error;
      return send(await this.#caller.renew(token));
    }
  }
}

/**
 * shared/client reads `ok`, `status` and `json()` of an answer, which is what the transport gives. A refusal that is not
 * in the coordinator's own words comes from something in between: that may pass, and must not condemn what was sent.
 */
const fetchOf = (transport: Transport) =>
  (async (url: string, init: Parameters<Transport['send']>[1]) => {
    const answer = await transport.send(url, init);
    const problem = answer.ok || (await answer.json().catch(() => undefined));
    if (!answer.ok && !problem?.code) throw new Error(`the answer was ${answer.status}, not the coordinator's own`);
    return answer;
  }) as unknown as NonNullable<ClientOptions['fetch']>;
