// @ts-check
import { assertionJwt } from '../identity/jwt.js';

/** @typedef {import('./messages.ts').Join} Join */
/** @typedef {import('../protocol/transport.js').Transport} Transport */
/** @typedef {Pick<Join, 'url' | 'agent_id' | 'boot_id' | 'private_jwk' | 'session'>} Assertable */

const TIMEOUT_MS = 10_000;
/** A token is renewed at this part of its life, so that a coordinator that is away for a while costs nothing. */
const RENEW_AT = 2 / 3;

/** An answer that was no success. */
export class Refusal extends Error {
  /** @param {number} status @param {{ code?: string, detail?: string } | undefined} problem */
  constructor(status, problem) {
    super(problem?.detail || `the answer was ${status}`);
    this.status = status;
    this.code = problem?.code;
    /** Whether it was the assertion that was refused: then a 401 speaks of the agent, not of a token. */
    this.ofAssertion = false;
  }

  /** What the refusal says of the agent; undefined when it may pass, or does not come from the coordinator itself. */
  get verdict() {
    if (!this.code) return undefined;
    if (this.code === 'token-revoked') return /** @type {const} */ ('revoked');
    if (this.status === 409) return /** @type {const} */ ('superseded');
    if (this.status === 404 || (this.status === 401 && this.ofAssertion)) return /** @type {const} */ ('unknown-agent');
    return undefined;
  }
}

/** An agent's access token, and how to get the next one. It lives here because the main thread may be busy for longer than a token lasts. */
export class Session {
  #token = '';
  #renewAt = 0;
  /** @type {Promise<string> | undefined} */
  #renewing;
  #join;
  #transport;
  #onToken;

  /** @param {Assertable} join @param {Transport} transport @param {(token: string) => void} [onToken] */
  constructor(join, transport, onToken = () => {}) {
    this.#join = join;
    this.#transport = transport;
    this.#onToken = onToken;
    if (join.session) this.#keep(join.session);
  }

  /** A token that is not about to expire, if one can be had. */
  async token() {
    if (this.#token && performance.now() < this.#renewAt) return this.#token;
    const old = this.#token;
    return this.renew(old).catch((error) => {
      if (!old || error instanceof Refusal) throw error;
      return old;
    });
  }

  /**
   * A token other than the one that was refused; those who ask together get the same.
   * @param {string} [refused]
   */
  async renew(refused) {
    if (this.#token && refused !== this.#token && performance.now() < this.#renewAt) return this.#token;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renew() {
    const before = this.#transport.nowMs() - Date.now();
    try {
      return await this.#exchange();
    } catch (error) {
      // The refusal's Date header may just have told that this machine's clock is wrong: then try once more.
      const learnt = Math.abs(this.#transport.nowMs() - Date.now() - before) > 1_000;
      if (!(error instanceof Refusal) || error.status !== 401 || !learnt) throw error;
      return this.#exchange();
    }
  }

  async #exchange() {
    const { url, agent_id, boot_id, private_jwk } = this.#join;
    const assertion = assertionJwt(private_jwk, agent_id, boot_id, this.#transport.nowMs());
    try {
      this.#keep(await post(this.#transport, `${url}/ains/agents/${agent_id}/token`, { assertion }, TIMEOUT_MS));
    } catch (error) {
      if (error instanceof Refusal) error.ofAssertion = true;
      throw error;
    }
    return this.#token;
  }

  /** @param {NonNullable<Join['session']>} session */
  #keep({ access_token, access_token_expires_at }) {
    const life = Date.parse(access_token_expires_at) - this.#transport.nowMs();
    this.#token = access_token;
    this.#renewAt = performance.now() + Math.max(life, 0) * RENEW_AT;
    this.#onToken(access_token);
  }
}

/**
 * Posts JSON and reads JSON; throws a {@link Refusal} for every answer that is no success.
 * @param {Transport} transport @param {string} url @param {unknown} body @param {number} timeoutMs @param {string} [token]
 */
export async function post(transport, url, body, timeoutMs, token) {
  const answer = await transport.send(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (answer.ok) return answer.json();
  throw new Refusal(answer.status, await answer.json().catch(() => undefined));
}
