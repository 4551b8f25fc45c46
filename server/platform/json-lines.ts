import type { Socket } from 'node:net';
import { HTTP_LIMITS } from './http-limits.ts';

/** An answer of JSON documents, one a line, that is sent as it is read: each part is some whole lines. */
export class JsonLines {
  readonly #parts: AsyncIterator<string>;
  constructor(parts: AsyncIterable<string>) {
    this.#parts = parts[Symbol.asyncIterator]();
  }

  /**
   * The answer: each part is asked for when the one before has gone. Where one fails, or its caller takes longer than `partMs` to read it, the
   * connection is cut, so that what ends in order is whole.
   */
  toResponse(status: number, headers: Record<string, string>, socket: Socket, partMs = HTTP_LIMITS.answerMs): Response {
    const parts = this.#parts;
    const encoder = new TextEncoder();
    let late: NodeJS.Timeout | undefined;
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          clearTimeout(late);
          const part = await parts.next().catch(() => undefined);
          if (!part) socket.destroy();
          if (!part || part.done) return controller.close();
          controller.enqueue(encoder.encode(part.value));
          late = setTimeout(() => socket.destroy(), partMs);
        },
        async cancel() {
          clearTimeout(late);
          await parts.return?.();
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { status, headers: { ...headers, 'content-type': 'application/x-ndjson' } });
  }
}
