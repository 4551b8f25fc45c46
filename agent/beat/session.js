// @ts-check
import { assertionJwt, proofJwt, rotationJwts } from '../identity/jwt.js';
import { pause, TRIES } from '../protocol/authorised.js';
import { ProofRequired, Refusal } from '../protocol/refusal.js';

/** @typedef {import('./messages.ts').Join} Join */
/** @typedef {import('./messages.ts').Credential} Credential */
/** @typedef {import('../protocol/transport.js').Transport} Transport */
/** @typedef {import('node:crypto').JsonWebKey} JsonWebKey */
/** @typedef {Pick<Join, 'url' | 'agent_id' | 'boot_id' | 'private_jwk' | 'next_jwk' | 'proof_of_possession' | 'session'>} Assertable */

const TIMEOUT_MS = 10_000;
/** A token is renewed at this part of its life, so that a coordinator that is away for a while costs nothing. */
const RENEW_AT = 2 / 3;

/** An agent's access token, and how to get the next one. It lives here because the main thread may be busy for longer than a token lasts. */
export class Session {
  /** @type {Credential | undefined} */
  #credential;
  #renewAt = 0;
  /** @type {Promise<Credential> | undefined} */
  #renewing;
  /** The key as far as is known, and one the coordinator may take instead: a rotation had no certain end. */
  #key;
  #next;
  #join;
  #transport;
  #onToken;

  /** @param {Assertable} join @param {Transport} transport @param {(credential: Credential) => void} [onToken] */
  constructor(join, transport, onToken = () => {}) {
    this.#join = join;
    this.#transport = transport;
    this.#onToken = onToken;
    this.#key = join.private_jwk;
    this.#next = join.next_jwk;
    if (join.session) this.#keep(join.session, join.private_jwk);
  }

  /** A token that is not about to expire, if one can be had. */
  async token() {
    const old = this.#credential;
    if (old && performance.now() < this.#renewAt) return old;
    return this.renew(old?.access_token).catch((error) => {
      if (!old || error instanceof Refusal) throw error;
      return old;
    });
  }

  /**
   * A token other than the one that was refused; those who ask together get the same.
   * @param {string} [refused]
   */
  async renew(refused) {
    const known = this.#credential;
    if (known && refused !== known.access_token && performance.now() < this.#renewAt) return known;
    return this.#alone(() => this.#renew());
  }

  /**
   * Changes the key; answers why it is still the old one, if it is. Who wants a token meanwhile waits for the end: it is not
   * certain which key buys one.
   * @param {JsonWebKey} next
   */
  async rotate(next) {
    while (this.#renewing) await this.#renewing.catch(() => undefined);
    /** @type {unknown} */
    let failure;
    await this.#alone(async () => {
      failure = await this.#rotate(next);
      return /** @type {Credential} */ (this.#credential);
    });
    return failure;
  }

  /** @param {() => Promise<Credential>} act */
  #alone(act) {
    this.#renewing ??= act().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renew({ nextFirst = false } = {}) {
    for (let tries = 1; ; tries += 1) {
      const before = this.#transport.nowMs() - Date.now();
      try {
        return await this.#exchange(nextFirst);
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 401 || tries === TRIES) throw error;
        // The refusal's Date header may just have told that this machine's clock is wrong.
        const learnt = Math.abs(this.#transport.nowMs() - Date.now() - before) > 1_000;
        if (!learnt && (error.verdict || error.code !== 'invalid-proof')) throw error;
        if (!learnt) await pause(tries);
      }
    }
  }

  /** Buys a token by whichever key the coordinator takes. @param {boolean} nextFirst */
  async #exchange(nextFirst) {
    const [key, next] = [this.#key, this.#next];
    if (!next) return this.#buy(key);
    const [first, second] = nextFirst ? [next, key] : [key, next];
    try {
      return await this.#buy(first);
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'invalid-token') throw error;
      return this.#buy(second);
    }
  }

  /** @param {JsonWebKey} key */
  async #buy(key) {
    const { agent_id, boot_id } = this.#join;
    const assertion = assertionJwt(key, agent_id, boot_id, this.#transport.nowMs());
    return this.#keep(await this.#ask('token', { assertion }, key), key);
  }

  /** @param {JsonWebKey} next @returns {Promise<unknown>} */
  async #rotate(next) {
    if (this.#next || !this.#credential) await this.#renew();
    for (let tries = 1; this.#key.x !== next.x; tries += 1) {
      this.#next = next;
      try {
        await this.#sendRotation(this.#key, next);
      } catch (error) {
        // Lost, or refused because it had got through already: which key the coordinator takes tells.
        await this.#renew({ nextFirst: true });
        if (this.#key.x === next.x) break;
        // A first 401 may have come of a wrong clock, which is set now.
        const final = error instanceof Refusal && error.final && (error.status !== 401 || tries > 1);
        if (final) this.#next = undefined;
        if (final || tries === TRIES) return error;
        await pause(tries);
      }
    }
    return undefined;
  }

  /** @param {JsonWebKey} key @param {JsonWebKey} next */
  async #sendRotation(key, next) {
    const { agent_id, boot_id } = this.#join;
    const jwts = rotationJwts(key, next, agent_id, boot_id, this.#transport.nowMs());
    this.#keep(await this.#ask('rotate-key', jwts, next), next);
  }

  /**
   * Asks for a session by word of a key, not by a token.
   * @param {string} verb @param {unknown} body @param {JsonWebKey} key
   */
  async #ask(verb, body, key) {
    const { url: base, agent_id, proof_of_possession } = this.#join;
    const url = `${base}/ains/agents/${agent_id}/${verb}`;
    const dpop = proof_of_possession && proofJwt(key, { method: 'POST', url }, this.#transport.nowMs());
    try {
      return await post(this.#transport, url, body, TIMEOUT_MS, dpop ? { dpop } : {});
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.code === 'invalid-proof' && !dpop) throw new ProofRequired(error.message);
      error.ofKey = true;
      throw error;
    }
  }

  /** @param {NonNullable<Join['session']>} session @param {JsonWebKey} private_jwk */
  #keep({ access_token, access_token_expires_at, token_type }, private_jwk) {
    const life = Date.parse(access_token_expires_at) - this.#transport.nowMs();
    this.#credential = { access_token, token_type, private_jwk };
    if (this.#key.x !== private_jwk.x) this.#next = undefined;
    this.#key = private_jwk;
    this.#renewAt = performance.now() + Math.max(life, 0) * RENEW_AT;
    this.#onToken(this.#credential);
    return this.#credential;
  }
}

/**
 * Posts JSON and reads JSON; throws a {@link Refusal} for every answer that is no success.
 * @param {Transport} transport @param {string} url @param {unknown} body @param {number} timeoutMs @param {Record<string, string>} headers
 */
export async function post(transport, url, body, timeoutMs, headers) {
  const answer = await transport.send(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (answer.ok) return answer.json();
  throw new Refusal(answer.status, await answer.json().catch(() => undefined));
}
