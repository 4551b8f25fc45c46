// @ts-check
// Plain JavaScript because the beat thread uses it too.
import { Agent, request } from 'undici';

/** A poll parks for at most a minute; whatever takes longer than this is dead. */
const TIMEOUT_MS = 90_000;
/** Date headers count whole seconds: a smaller difference says nothing. */
const SKEW_FLOOR_MS = 5_000;

/**
 * One pool of kept-alive connections. It knows how far this machine's clock is off the coordinator's, since a JWT dated
 * by a wrong clock is refused.
 * @param {{ ca?: string | undefined, onRetryAfter?: (ms: number) => void }} [options]
 */
export function createTransport({ ca, onRetryAfter } = {}) {
  const dispatcher = new Agent({
    connect: { timeout: 5_000, ...(ca ? { ca } : {}) },
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  let skewMs = 0;
  return {
    /** The coordinator's time in milliseconds, as far as it is known. */
    nowMs: () => Date.now() + skewMs,
    /** @param {string} url @param {{ method?: string, headers?: any, body?: any, signal?: any }} [init] */
    async send(url, { method = 'GET', headers, body, signal } = {}) {
      const answer = await request(url, { method: /** @type {'GET'} */ (method), headers, body, signal, dispatcher });
      const text = await answer.body.text();
      const date = Date.parse(String(answer.headers.date));
      if (date) skewMs = Math.abs(date - Date.now()) < SKEW_FLOOR_MS ? 0 : date - Date.now();
      const retryAfter = Number(answer.headers['retry-after']);
      if (retryAfter > 0) onRetryAfter?.(retryAfter * 1_000);
      const { statusCode: status } = answer;
      // As much of a Response as shared/client reads: `request` costs less than `fetch` for the same answer.
      return { status, ok: status >= 200 && status < 300, json: async () => JSON.parse(text) };
    },
    /** Ends every connection, also those with a request under way. */
    close: () => dispatcher.destroy(),
  };
}

/** @typedef {ReturnType<typeof createTransport>} Transport */
