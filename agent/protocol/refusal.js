// @ts-check
// Plain JavaScript because the beat thread uses it too.

/** @typedef {import('./verdict.ts').AgentVerdict} AgentVerdict */

/** An answer that was no success. */
export class Refusal extends Error {
  /** @param {number} status @param {{ code?: string, detail?: string } | undefined} problem */
  constructor(status, problem) {
    super(problem?.detail || `the answer was ${status}`);
    this.status = status;
    this.code = problem?.code;
    /** Whether it was the word of the key that was refused: then a 401 speaks of the agent, not of a token. */
    this.ofKey = false;
  }

  /**
   * What the refusal says of the agent; undefined when it may pass, or does not come from the coordinator itself.
   * @returns {AgentVerdict | undefined}
   */
  get verdict() {
    if (!this.code || this.code === 'invalid-proof') return undefined;
    if (this.code === 'token-revoked') return 'revoked';
    if (this.status === 409) return 'superseded';
    if (this.status === 404 || (this.status === 401 && this.ofKey)) return 'unknown-agent';
    return undefined;
  }

  /** Whether the coordinator will never take this request. */
  get final() {
    const { code, status } = this;
    return Boolean(code) && code !== 'invalid-proof' && status < 500 && status !== 408 && status !== 429;
  }
}

/** The coordinator wants proofs, and this agent was not told to make any. */
export class ProofRequired extends Refusal {
  /** @param {string} detail */
  constructor(detail) {
    super(401, {
      code: 'invalid-proof',
      detail: `the coordinator wants proof of possession of the agent's key: set the option proof_of_possession (the sample agent's --proof-of-possession). It said: ${detail}`,
    });
  }

  /** @override @returns {AgentVerdict} */
  get verdict() {
    return 'proof-required';
  }
}
