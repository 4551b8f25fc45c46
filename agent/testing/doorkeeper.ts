import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import {
  assertionClaims,
  confirmationClaims,
  registrationClaims,
  rotationClaims,
} from '@muster/shared/contract/agents';
import { newId } from '@muster/shared/ids';
import { EmbeddedJWK, importJWK, type JWK, jwtVerify } from 'jose';

/** A refusal, as the coordinator would word it. */
export class Refused extends Error {
  readonly code: string;

  constructor(code: string, detail: string) {
    super(detail);
    this.code = code;
  }
}

interface Asked {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
}

interface Token {
  access_token: string;
  epoch: number;
  /** The key it is bound to. */
  x: string | undefined;
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('base64url');

/** Knows one agent by its key, as a coordinator does: every signature and proof is verified, every `jti` taken once. */
export class Doorkeeper {
  readonly agentId = newId('agent');
  /** Whether tokens must be bound to the key. */
  requireDpop = false;
  /** How far the coordinator's clock is ahead of the agent's. */
  aheadMs = 0;
  jwk: JWK | undefined;
  readonly #tokens: Token[] = [];
  readonly #jtis = new Set<unknown>();
  #epoch = 0;

  now = (): Date => new Date(Date.now() + this.aheadMs);

  /** Takes the key a registration carries. */
  async register(registration: string, asked: Asked): Promise<Token> {
    const verified = await jwtVerify(registration, EmbeddedJWK, {
      typ: 'agent-registration+jwt',
      currentDate: this.now(),
    }).catch(refuse);
    registrationClaims.parse(verified.payload);
    this.#once(verified.payload.jti);
    this.jwk = verified.protectedHeader.jwk as JWK;
    return this.#grant(asked);
  }

  async assert(assertion: string, asked: Asked): Promise<Token> {
    assertionClaims.parse(await this.#verify(assertion, this.jwk, 'agent-assertion+jwt'));
    return this.#grant(asked);
  }

  async rotate(body: { rotation: string; confirmation: string }, asked: Asked): Promise<Token> {
    const { new_jwk } = rotationClaims.parse(await this.#verify(body.rotation, this.jwk, 'agent-key-rotation+jwt'));
    const claims = await this.#verify(body.confirmation, new_jwk, 'agent-key-confirmation+jwt');
    if (confirmationClaims.parse(claims).rotation_hash !== sha256(body.rotation))
      throw new Refused('invalid-token', 'the confirmation is of another rotation');
    const old = this.jwk;
    this.jwk = new_jwk;
    try {
      await this.#bind(asked);
    } catch (error) {
      this.jwk = old;
      throw error;
    }
    this.#epoch += 1;
    return this.#keep(asked);
  }

  /** Admits a request that comes with a token. */
  async admit(asked: Asked): Promise<void> {
    const [scheme, access_token] = asked.headers.authorization?.split(' ') ?? [];
    const token = this.#tokens.find((one) => one.access_token === access_token);
    if (!token || token.epoch !== this.#epoch) throw new Refused('invalid-token', `${access_token} is over`);
    if (scheme !== (token.x ? 'DPoP' : 'Bearer')) throw new Refused('invalid-proof', `the token is no ${scheme} token`);
    if (token.x) await this.#prove(asked, token.access_token);
    else if (this.requireDpop) throw new Refused('invalid-proof', 'tokens must be bound to a key here');
  }

  async #grant(asked: Asked): Promise<Token> {
    await this.#bind(asked);
    return this.#keep(asked);
  }

  async #bind(asked: Asked): Promise<void> {
    if (asked.headers.dpop || this.requireDpop) await this.#prove(asked);
  }

  #keep({ headers }: Asked): Token {
    const x = headers.dpop ? this.jwk?.x : undefined;
    const token = { access_token: `token-${this.#tokens.length + 1}`, epoch: this.#epoch, x };
    this.#tokens.push(token);
    return token;
  }

  async #prove({ method, url, headers }: Asked, access_token?: string): Promise<void> {
    const of = { typ: 'dpop+jwt', maxTokenAge: 60, currentDate: this.now() };
    const { payload, protectedHeader } = await jwtVerify(String(headers.dpop), EmbeddedJWK, of).catch((error) =>
      refuse(error, 'invalid-proof'),
    );
    const { jwk } = protectedHeader;
    const ath = access_token && sha256(access_token);
    const right = payload.htm === method && payload.htu === url && payload.ath === ath && jwk?.x === this.jwk?.x;
    if (!right || Object.keys(jwk ?? {}).length !== 3)
      throw new Refused('invalid-proof', `not of this ${method} ${url}: ${JSON.stringify({ ...payload, jwk })}`);
    this.#once(payload.jti, 'invalid-proof');
  }

  async #verify(jwt: string, jwk: JWK | undefined, typ: string) {
    if (!jwk) throw new Refused('invalid-token', 'no agent has registered');
    const of = { issuer: this.agentId, subject: this.agentId, audience: 'muster' };
    const options = { typ, ...of, maxTokenAge: 60, currentDate: this.now() };
    const { payload } = await jwtVerify(jwt, await importJWK(jwk, 'EdDSA'), options).catch(refuse);
    this.#once(payload.jti);
    return payload;
  }

  #once(jti: unknown, code = 'invalid-token'): void {
    if (!jti || this.#jtis.has(jti)) throw new Refused(code, `the jti ${jti} was used before`);
    this.#jtis.add(jti);
  }
}

function refuse(error: unknown, code = 'invalid-token'): never {
  throw new Refused(code, String(error));
}
