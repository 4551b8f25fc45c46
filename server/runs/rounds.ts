/** What one statement forgot, and after what the next one looks; null where it has seen all there is. */
export interface Round {
  gone: number;
  next: string | null;
}

/** So many statements in a row that found nothing to forget end a tick. */
const IDLE = 20;

/** Forgets what is old, a batch a statement, for so long a tick, and goes on in the next. What may not go yet is passed by, and looked at again in the next round. Answers how much went. */
export function inRounds(ms: number, forget: (after: string) => Promise<Round>): () => Promise<number> {
  let after = '';
  return async () => {
    const until = performance.now() + ms;
    let gone = 0;
    for (let idle = 0, more = true; more && idle < IDLE && performance.now() < until; ) {
      const found = await forget(after);
      gone += found.gone;
      idle = found.gone > 0 ? 0 : idle + 1;
      more = found.next !== null;
      after = found.next ?? '';
    }
    return gone;
  };
}
